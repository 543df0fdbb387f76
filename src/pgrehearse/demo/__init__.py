"""The story that `pgrehearse demo` plays: a small shop, a bad migration, a good one."""
