"""drizzle-kit's configuration, read as text."""

from pathlib import Path

import pytest

from pgrehearse.discover.drizzle_config import parse_drizzle_config, read_drizzle_config
from pgrehearse.errors import ConfigurationError

PLAIN = """
import "dotenv/config";
import { defineConfig } from "drizzle-kit";

// out: "./wrong",  dialect: "mysql"
export default defineConfig({
  /* out: "./wrong" */
  schema: ["./src/a.ts", "./src/{b,c}.ts"],
  out: './src/db/migrations/',
  dialect: "postgresql",
  dbCredentials: { url: process.env.DATABASE_URL!, ssl: { rejectUnauthorized: false } },
  migrations: { table: "journal", schema: "audit" },
});
"""


def test_a_usual_config_is_read() -> None:
    found = parse_drizzle_config("drizzle.config.ts", PLAIN)
    assert (found.out, found.dialect, found.url_variable) == ("src/db/migrations", "postgresql", "DATABASE_URL")
    assert (found.ledger_namespace, found.ledger_table) == ("audit", "journal")
    assert not found.has_literal_url


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("process.env.SHOP_URL", "SHOP_URL"),
        ("process.env['SHOP_URL'] as string", "SHOP_URL"),
        ("process.env?.SHOP_URL ?? ''", "SHOP_URL"),
        ("env.SHOP_URL", "SHOP_URL"),
        ("Bun.env.SHOP_URL!", "SHOP_URL"),
        ("import.meta.env.SHOP_URL", "SHOP_URL"),
        ("assertValue(process.env.SHOP_URL, 'Missing environment variable: url: x')", "SHOP_URL"),
        ("url", "FROM_CONSTANT_URL"),
        ("`postgres://${user}@host/db`", "FROM_CONSTANT_URL"),
    ],
)
def test_the_variable_of_the_url_is_found(url: str, variable: str) -> None:
    text = (
        "const url = process.env.FROM_CONSTANT_URL;\nconst port = process.env.PORT;\n"
        f"export default {{ dialect: 'postgresql', dbCredentials: {{ url: {url} }} }} satisfies Config;"
    )
    assert parse_drizzle_config("drizzle.config.ts", text).url_variable == variable


def test_several_url_variables_outside_the_config_are_not_guessed_between() -> None:
    text = "const u = prod ? process.env.A_URL : process.env.B_URL; export default { dialect: 'postgresql', out: 'x' }"
    assert parse_drizzle_config("drizzle.config.ts", text).url_variable is None


def test_other_notations_are_read() -> None:
    json_text = '{"out": "drizzle\\u002fpg", "dialect": "postgresql", "dbCredentials": {"url": "postgres://u:x@h/d"}}'
    found = parse_drizzle_config("drizzle.config.json", json_text)
    assert (found.out, found.has_literal_url, found.url_variable) == ("drizzle/pg", True, None)
    common = "/** @type {import('drizzle-kit').Config} */\nmodule.exports = { dialect: 'postgresql', schema: './s' }\n"
    assert parse_drizzle_config("drizzle.config.js", common).out == "drizzle"
    old = "export default { schema: './s', driver: 'pg', dbCredentials: { connectionString: process.env.DB_URL } }"
    found = parse_drizzle_config("drizzle.config.ts", old)
    assert (found.dialect, found.url_variable) == ("postgresql", "DB_URL")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "}",
        "export default",
        "out: 'x'",
        "'",
        "`",
        "/*",
        "{a:{b:{c:",
        "{{{}}}",
        "x = {a: [1, {b: 2}], c: f({d: 3})}",
    ],
)
def test_any_text_is_survived(text: str) -> None:
    found = parse_drizzle_config("drizzle.config.ts", text)
    assert (found.out, found.dialect, found.url_variable) == ("drizzle", None, None)


def test_escapes_that_name_no_character_stay_as_they_are() -> None:
    found = parse_drizzle_config("drizzle.config.ts", r"export default { out: 'a\u{110000}\ud800\x41' }")
    assert found.out == r"a\u{110000}\ud800A"


def test_a_computed_folder_is_not_guessed() -> None:
    assert (
        parse_drizzle_config("drizzle.config.ts", "export default { out: `./${name}`, dialect: 'postgresql' }").out
        is None
    )
    assert parse_drizzle_config("drizzle.config.ts", "export default { out: path.join('a', 'b') }").out is None


def test_another_dialect_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drizzle.config.ts").write_text(PLAIN.replace('"postgresql"', '"mysql"'))
    with pytest.raises(ConfigurationError) as caught:
        read_drizzle_config(tmp_path)
    assert str(caught.value) == "drizzle.config.ts: dialect is 'mysql', needed is 'postgresql'"
    assert caught.value.exit_code == 2
    assert caught.value.remedy
