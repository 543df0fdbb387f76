"""Where something may have been moved: tables that the plan made, that have new columns, or that gained rows."""

from collections.abc import Iterable, Iterator

from pgrehearse.data.table_loss import PoolResult
from pgrehearse.data.trace_links import Place
from pgrehearse.data.verdicts import ColumnVerdict, TableVerdict


def find_places(results: Iterable[PoolResult]) -> Iterator[Place]:
    """Each table of the clone once; of a partition tree its root."""
    seen: set[int] = set()
    for result in results:
        pool = result.pool
        if pool is None or pool.model_after is None or not pool.after:
            continue
        facts = {fact.name_after: fact for fact in result.tables}
        tables = [pool.model_after] if pool.model_after.partitioned else list(pool.after)
        for table in tables:
            known = [fact for fact in facts.values() if pool.model_after.partitioned or fact.name_after == table.name]
            new = {column.name_after for fact in known for column in fact.columns
                   if column.verdict is ColumnVerdict.NEW}  # fmt: skip
            gained = sum(max(0, fact.rows_after - fact.rows_before + fact.rows_lost) for fact in known)
            if table.oid not in seen and (new or gained):
                seen.add(table.oid)
                columns = tuple(column for column in table.columns if column.sql_name in new)
                bare = all(fact.verdict is TableVerdict.NEW for fact in known)
                yield Place(table=table, new_columns=columns, rows_gained=gained, rows_are_new=not columns or bare)
