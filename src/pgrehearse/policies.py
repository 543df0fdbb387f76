"""From the configuration to what the release room goes by: the gate's bounds, ways back, where backups lie."""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pgrehearse.config import ResolvedDatabase
from pgrehearse.config_sections import Backup
from pgrehearse.config_sections import Promotion as PromotionRules
from pgrehearse.project import Project
from pgrehearse.release.backup.external import ExternalOptions
from pgrehearse.release.backup.scratch import ScratchOptions
from pgrehearse.release.examine import GatePolicy
from pgrehearse.release.freshness import Bounds
from pgrehearse.release.recoverability import RecoverabilityPolicy
from pgrehearse.release.standbys import StandbyBounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What a project's configuration, or its absence, asks for."""

    project: Project

    @property
    def promotion(self) -> PromotionRules:
        """What the gate asks for, as the file has it."""
        return self.project.config.promotion if self.project.config else PromotionRules()

    @property
    def backup(self) -> Backup:
        """How backups are taken, as the file has it."""
        return self.project.config.backup if self.project.config else Backup()

    def gate(self, database: ResolvedDatabase) -> GatePolicy:
        """What the gate asks for."""
        asked, config = self.promotion, self.project.config
        return GatePolicy(
            bounds=Bounds(max_age=timedelta(hours=asked.max_age_hours), max_change=asked.max_change_percent / 100),
            standby_bounds=StandbyBounds(
                max_replay_lag_s=asked.max_replay_lag_s, max_retained_wal_gb=asked.max_retained_wal_gb
            ),
            standbys=config.standby_conninfos(database.environment) if config and database.environment else (),
            approvals=asked.approvals,
            approved_by_another=asked.approved_by_another,
            checks_directory=config.located(config.checks.directory) if config else None,
            precondition_timeout_ms=round(asked.precondition_timeout_s * 1000),
        )

    def recoverability(self, database: ResolvedDatabase) -> RecoverabilityPolicy:
        """How a promotion to this database can be taken back."""
        asked, project = self.backup, self.project
        environment = (
            project.config.environments[database.environment] if project.config and database.environment else None
        )
        ways = environment.recoverability if environment else None
        return RecoverabilityPolicy(
            ways=ways or asked.policy,
            environment=database.environment,
            directory=self.backup_directory(),
            dump_limit_gb=asked.dump_limit_gb,
            scratch=self.scratch(),
            jobs=asked.jobs or 2,
            external=self._external(),
        )

    def backup_directory(self) -> Path:
        """Where dumps lie."""
        config = self.project.config
        return config.located(config.backup.directory) if config else self.project.directory / self.backup.directory

    def scratch(self) -> ScratchOptions:
        """Where dumps are proved."""
        asked, project = self.backup, self.project
        clone = project.config.clone if project.config else None
        return ScratchOptions(
            server=project.database(asked.scratch).conninfo if asked.scratch is not None else None,
            protected=project.protected(),
            work_directory=project.config.located(clone.directory)
            if project.config and clone and clone.directory
            else None,
            create_roles=clone.create_roles if clone else False,
        )

    def _external(self) -> ExternalOptions | None:
        asked = self.backup
        if asked.external_command is None:
            return None
        return ExternalOptions(
            command=asked.external_command,
            working_directory=self.project.directory,
            environment=dict(os.environ),  # the team's own tool needs its own variables
            timeout_s=asked.external_timeout_s,
            drill_command=asked.drill_command,
            max_drill_age_days=asked.max_drill_age_days,
        )

    def rollback_directory(self) -> Path:
        """Where rows that a restore leaves behind are exported to."""
        return self.backup_directory().parent / "rollbacks"
