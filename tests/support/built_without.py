"""What the tests' servers are built without, by major; `tests/postgres/test_servers.py` asks them."""

BUILT_WITHOUT: dict[int, frozenset[str]] = {
    15: frozenset(),
    16: frozenset({"icu", "libxml"}),
    18: frozenset({"icu", "libxml"}),
}
