"""Runs a plan's segments one after another, each inside a transaction or outside of any."""

import time
from collections.abc import Sequence

from pgrehearse.errors import ConcurrentRunner
from pgrehearse.migrations.applied import SegmentRun
from pgrehearse.migrations.inside import RunsOutside, run_inside
from pgrehearse.migrations.outside import run_outside
from pgrehearse.migrations.runner import Runner
from pgrehearse.migrations.segments import PendingFile, Segment, SegmentKind, compile_segments, needs_progress
from pgrehearse.migrations.session_state import session_settings


def run_segments(runner: Runner, files: Sequence[PendingFile]) -> None:
    """Segment after segment, until every file is recorded."""
    runner.files = list(files)
    if runner.shared and files:
        runner.replay = session_settings(files[0].statements[: files[0].statements_done])
    while runner.files:
        segments = compile_segments(runner.files, runner.settings.mode, refusing=runner.refusing)
        if needs_progress(segments):
            runner.progress.create(runner.guard)
            runner.has_progress = True
        if runner.wall is not None:
            runner.wall.queue(len(segments))
        try:
            for position, segment in enumerate(segments):
                _run_segment(runner, segment, remaining=len(segments) - position)
        except RunsOutside as found:
            runner.refusing |= {found.key}


def _run_segment(runner: Runner, segment: Segment, *, remaining: int) -> None:
    began = time.perf_counter()
    runner.remaining = remaining
    if runner.wall is not None:
        runner.wall.queue(remaining)
    attempts = run_outside(runner, segment) if segment.kind is SegmentKind.OUTSIDE else run_inside(runner, segment)
    runner.segments.append(
        SegmentRun(
            kind=segment.kind.value,
            versions=tuple(dict.fromkeys(part.migration.version for part in segment.parts)),
            statements=len(segment.statements),
            attempts=attempts,
            duration_ms=(time.perf_counter() - began) * 1000,
        )
    )
    if not segment.rolls_back:
        runner.advance(segment)
    if runner.intruder is not None:
        raise ConcurrentRunner(f"{runner.intruder}, ahead of our next step; {runner.state()}")
