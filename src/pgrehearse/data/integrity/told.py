"""An answer of the rows as a finding: what is broken, how much, and what to do."""

from pgrehearse.counted import counted
from pgrehearse.data.integrity.measure import Answer
from pgrehearse.data.integrity.promises import Promise, PromiseKind
from pgrehearse.data.integrity.verdicts import BrokenPromise, Weight

HAZARDS = {
    PromiseKind.FOREIGN_KEY: "broken-foreign-key",
    PromiseKind.CHECK: "broken-check",
    PromiseKind.NOT_NULL: "broken-not-null",
    PromiseKind.UNIQUE: "broken-unique",
    PromiseKind.EXCLUSION: "broken-exclusion",
    PromiseKind.DOMAIN: "broken-domain",
    PromiseKind.GENERATED: "stale-generated-column",
    PromiseKind.BOUND: "broken-partition-bound",
    PromiseKind.LABEL: "broken-enum",
}
DO = {
    PromiseKind.FOREIGN_KEY: "have no parent",
    PromiseKind.CHECK: "are not as it says",
    PromiseKind.NOT_NULL: "hold NULL",
    PromiseKind.UNIQUE: "share a key",
    PromiseKind.EXCLUSION: "exclude each other",
    PromiseKind.DOMAIN: "hold what it forbids",
    PromiseKind.GENERATED: "hold what it would not give now",
    PromiseKind.BOUND: "belong elsewhere, and are not found through their parent",
    PromiseKind.LABEL: "hold a label that is gone",
}
REMEDIES = {
    PromiseKind.FOREIGN_KEY: "Leave session_replication_role and DISABLE TRIGGER away, or mend these rows in the same "
    "file.",
    PromiseKind.CHECK: "Mend these rows in the same file; a CHECK's function may look at nothing but its row.",
    PromiseKind.NOT_NULL: "Fill these rows in the same file, before anything relies on them.",
    PromiseKind.UNIQUE: "Merge or delete the duplicates in the same file, then REINDEX.",
    PromiseKind.EXCLUSION: "Mend these rows in the same file, then REINDEX.",
    PromiseKind.DOMAIN: "Mend these rows in the same file; then ALTER DOMAIN … VALIDATE CONSTRAINT.",
    PromiseKind.GENERATED: "Have it computed again in the same file: UPDATE {table} SET a = a; of a column a that its "
    "expression reads, since for no other one the server does it.",
    PromiseKind.BOUND: "Detach it, move these rows to where they belong, and attach it again.",
    PromiseKind.LABEL: "Give these rows a label that exists, by another way than DELETE FROM pg_enum.",
}


def broken_promise(answer: Answer) -> BrokenPromise | None:
    """None where the plan made nothing worse."""
    question = answer.question
    promise, before = question.promise, question.before
    relation = promise.relation.name
    if answer.fails_for_rows:
        return BrokenPromise(
            hazard=HAZARDS[promise.kind],
            weight=Weight.ERROR,
            relation=relation,
            promise=promise.name,
            what=f"{promise.name} of {relation} cannot be evaluated for rows that are there ({answer.failure}): "
            "a dump of this database cannot be restored",
            remedy="Let the function answer for every row that is there.",
        )
    if answer.failure is not None or not answer.rows_new:
        return None
    assert answer.rows is not None
    return BrokenPromise(
        hazard=HAZARDS[promise.kind],
        weight=_weight(promise, before),
        relation=relation,
        promise=promise.name,
        what=_sentence(answer),
        remedy=_remedy(promise, before),
        rows=answer.rows,
        rows_before=answer.rows_before,
        keys=answer.keys,
    )


def _weight(promise: Promise, before: Promise | None) -> Weight:
    """Whoever adds a promise as NOT VALID says himself that old rows may break it; so does NOT ENFORCED of all."""
    if promise.weak is None:
        return Weight.ERROR
    if before is None or (promise.weak == "NOT ENFORCED" and before.weak == "NOT ENFORCED"):
        return Weight.WARNING
    return Weight.ERROR


def _sentence(answer: Answer) -> str:
    question = answer.question
    promise, before = question.promise, question.before
    rows = answer.rows or 0
    verb = DO[promise.kind]
    if rows == 1:
        verb = "has no parent" if promise.kind is PromiseKind.FOREIGN_KEY else verb.replace("hold ", "holds ", 1)
        verb = {"are not as it says": "is not as it says", "exclude each other": "excludes another"}.get(verb, verb)
    text = f"{counted(rows, 'row')} of {promise.relation.name} {verb}: {promise.name}"
    if promise.weak is None:
        text += ", which the catalog calls valid"
    elif before is None:
        text += f", which the plan made {promise.weak}"
        text += ", and VALIDATE CONSTRAINT will fail" if promise.weak == "NOT VALID" else ""
    elif before.weak is None:
        text += f", which the plan made {promise.weak} and which held before"
    else:
        text += f", which is {promise.weak}"
    if answer.rows_before:
        text += f"; before the plan {answer.rows_before:,} did"
    if answer.keys:
        text += f"; first: {', '.join(answer.keys)}"
    return text


def _remedy(promise: Promise, before: Promise | None) -> str:
    if promise.weak == "NOT VALID" and before is None:
        return "Mend these rows, then validate it: new rows are held to it already."
    return REMEDIES[promise.kind].format(table=promise.relation.name)
