"""The parser that all documented commands share."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys

import pytest
from pydantic import SecretStr

from scope_dask.commands import _parser, _quadrants
from scope_dask.commands._parser import Call, Command, flag, option, values, verbose
from scope_dask.errors import OptionError, RunError, SourceError

ARGUMENTS = (
    option("--field", "ZTF field", int, 301),
    option("--radius-arcsec", "a radius", float, 2.0),
    option("--query-size-limit", "rows", int, 1000, aliases=("--limit",)),
    option("--catalog", "of features", default="Default", config=("kowalski", "collections", "features")),
    option("--token", "secret", SecretStr, environment="FRITZ_TOKEN", config=("fritz", "token")),
    option("--format", "of files", default="parquet", choices=("parquet", "h5", "csv")),
    option("--add-keywords", "for a script; 100 % as given", default="", verbatim=True),
    option("--comment", "any text"),
    values("--group-ids", "groups", int, aliases=("-g",)),
    values("--fields", "fields to run", int, (296,), config=("feature_generation", "fields_to_run")),
    values("--ccd-range", "CCDs", int, (1, 16), aliases=("--ccd",), most=2),
    flag("--skip-phot", "no photometry"),
    flag("--doCPU", "on the CPU"),
    option("-f", "short one", aliases=("--filetype",)),
)


def nothing(call: Call) -> None:
    """Run nothing."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FRITZ_TOKEN", raising=False)
    return tmp_path


def parsed(line: str | list[str], run=nothing) -> Call:
    return Command("a-command", "For tests.", ARGUMENTS, run).parse(line.split() if isinstance(line, str) else line)


def test_defaults() -> None:
    call = parsed("")
    found = call.options
    assert (found.field, found.catalog, found.token, found.group_ids, found.fields) == (
        301,
        "Default",
        None,
        None,
        [296],
    )
    assert (found.skip_phot, found.ccd_range, found.verbose, found.dry_run) == (False, [1, 16], 1, False)
    assert call.given == frozenset()


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("--group_ids 200 300 400", "group_ids", [200, 300, 400]),
        ("-group-ids 200", "group_ids", [200]),
        ("-field 296", "field", 296),
        ("--field=296", "field", 296),
        ("--query_size_limit=7", "query_size_limit", 7),
        ("--limit 7", "query_size_limit", 7),
        ("--ccd 3", "ccd_range", [3]),
        ("-g 1 2", "group_ids", [1, 2]),
        ("--filetype slurm", "f", "slurm"),
        ("--field 1 --field 2", "field", 2),
        ("--group-ids 1 2 --group-ids 3", "group_ids", [3]),
        ("--field -3", "field", -3),
        ("--radius-arcsec 1e-3", "radius_arcsec", 1e-3),
        ("--group-ids -1 -2", "group_ids", [-1, -2]),
        ("--skip-phot", "skip_phot", True),
        ("--skip-phot True", "skip_phot", True),
        ("--skip-phot False", "skip_phot", False),
        ("--skip_phot 1 --doCPU", "skip_phot", True),
        ("--skip-phot=0", "skip_phot", False),
        ("--doCPU", "doCPU", True),
        ("--verbose", "verbose", 1),
        ("--verbose 0", "verbose", 0),
        ("--verbose 2 --field 5", "verbose", 2),
        ("--dry-run", "dry_run", True),
    ],
)
def test_spellings_and_values(line, name, expected) -> None:
    call = parsed(line)
    assert getattr(call.options, name) == expected
    assert name in call.given


@pytest.mark.parametrize("value", ["--save", "--save --batch-size 32", "--field", "--verbose 1", "", "-x"])
def test_a_verbatim_value_may_be_anything(value) -> None:
    call = parsed(["--add-keywords", value, "--field", "5"])
    assert (call.options.add_keywords, call.options.field) == (value, 5)


def test_other_values_may_begin_with_dashes_unless_they_are_options() -> None:
    assert parsed(["--comment", "--really"]).options.comment == "--really"
    assert parsed(["--comment", "--field is wrong"]).options.comment == "--field is wrong"
    assert parsed(["--comment", "field"]).options.comment == "field"
    with pytest.raises(OptionError, match="--comment needs a value: text"):
        parsed("--comment --field 3")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--feild 3", r"there is no option --feild \(did you mean --field or --fields"),
        ("--fields 1 --querysize 3", r"there is no option --querysize \(did you mean --query-size-limit"),
        ("--xyzzyx", r"there is no option --xyzzyx; --help lists all"),
        ("--feild 3 --gruop-ids 4", r"--feild \(did.*; there is no option --gruop-ids \(did you mean --group-ids"),
        ("--fiel 3", r"there is no option --fiel "),
        ("301", r"stray word '301': every value follows its option; a-command --help lists them"),
        ("--field 3 4", r"stray word '4'"),
        ("--skip-phot no", r"--skip-phot: 'no' is not true or false"),
        ("--field", r"--field needs a value: an integer"),
        ("--field 3.5", r"--field: '3\.5' is not an integer"),
        ("--radius-arcsec x", r"--radius-arcsec: 'x' is not a number"),
        ("--verbose much", r"--verbose: 'much' is not an integer"),
        ("--group-ids", r"--group-ids/-g: expected at least one argument"),
        ("--ccd-range 1 2 3", r"--ccd-range takes 2 values at most"),
        ("--format fits", r"--format: invalid choice: 'fits' \(choose from '?parquet"),
        ("--", r"there is no option --"),
    ],
)
def test_what_is_refused(line, sentence) -> None:
    with pytest.raises(OptionError, match=sentence):
        parsed(line)


def test_the_option_comes_before_the_environment_before_the_file_before_the_default(folder, monkeypatch) -> None:
    text = (
        "kowalski: {collections: {features: Mine}}\nfritz: {token: of-file}\nfeature_generation: {fields_to_run: [3]}"
    )
    (folder / "config.yaml").write_text(text)
    found = parsed("").options
    assert (found.catalog, found.fields, found.token) == ("Mine", [3], SecretStr("of-file"))
    assert "of-file" not in repr(found)
    monkeypatch.setenv("FRITZ_TOKEN", "of-environment")
    assert parsed("").options.token == SecretStr("of-environment")
    found = parsed("--token of-line --catalog Other --fields 1 2").options
    assert (found.catalog, found.fields, found.token) == ("Other", [1, 2], SecretStr("of-line"))


def test_a_wrong_value_of_the_file_is_named_with_its_place(folder) -> None:
    (folder / "mine.yaml").write_text("feature_generation: {fields_to_run: [a]}")
    with pytest.raises(OptionError, match=r"mine\.yaml: feature_generation: fields_to_run: 'a' is not an integer"):
        parsed("--config-path mine.yaml")
    with pytest.raises(SourceError, match=r"there is no configuration nowhere\.yaml"):
        parsed("--config-path nowhere.yaml")


def test_a_required_option(folder) -> None:
    tag = option("--tag", "class", required=True, config=("training", "dataset"))
    command = Command("a-command", "", (tag,), nothing)
    with pytest.raises(OptionError, match=r"--tag is missing: give it or training: dataset in config\.yaml"):
        command.parse([])
    assert command.parse(["--tag", "vnv"]).options.tag == "vnv"


def test_later_arguments_replace_earlier_and_common_ones() -> None:
    command = Command("a", "", (*ARGUMENTS, option("--field", "other", int, 5), verbose(2)), nothing)
    assert (command.parse([]).options.field, command.parse([]).verbose) == (5, 2)
    assert command.parse(["--verbose"]).verbose == 1


def test_help_names_every_option_with_its_default(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        Command("a-command", "For tests.", ARGUMENTS, nothing).main(["-h"])
    text = " ".join(capsys.readouterr().out.split())
    names = [name for a in ARGUMENTS for name in (a.name, *a.aliases)]
    common = ["--verbose", "--config-path", "--check-configs", "--default-config-name", "--dry-run"]
    for name in (*names, *common):
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", text)
    for default in ("301", "1 16", "kowalski: collections: features of config.yaml, else Default", "$FRITZ_TOKEN"):
        assert f"(default: {default}" in text
    assert "100 % as given" in text


def failing(error: BaseException):
    def run(call: Call) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (OptionError("wrong"), 2, "Error: wrong\n"),
        (RunError("failed"), 1, "Error: failed\n"),
        (KeyboardInterrupt(), 130, "interrupted: "),
    ],
)
def test_errors_are_one_sentence_and_an_exit_code(error, code, sentence, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        Command("a-command", "", ARGUMENTS, failing(error)).main([])
    assert end.value.code == code
    shown = capsys.readouterr().err
    assert shown.startswith(sentence)
    assert shown.count("\n") == 1


def test_what_run_returns_is_the_exit_code(capsys) -> None:
    assert Command("a", "", (), lambda call: 3).main([]) == 3
    assert Command("a", "", (), nothing).main([]) == 0


def test_unknown_keys_are_warned_of_in_one_line(folder, capsys) -> None:
    (folder / "config.yaml").write_text("fritz: {tokn: x}")
    assert Command("a", "", (), nothing).main([]) == 0
    expected = "Warning: config.yaml: there is no key fritz: tokn (did you mean 'token'?), it is not used\n"
    assert capsys.readouterr().err == expected


def test_check_configs_prints_what_differs_and_no_secret(folder, capsys) -> None:
    (folder / "config.yaml").write_text("kowalski: {timeout: 60, hosts: {gloria: {token: hush-1}}}\nfritz: {port: 443}")
    (folder / "config.defaults.yaml").write_text("kowalski: {timeout: 300}\nfritz: {port: 443, token: hush-2}")
    (folder / "others.yaml").write_text("kowalski: {timeout: 60}")
    command = Command("a", "", (), nothing)
    assert command.main(["--check-configs", "--verbose", "0"]) == 0
    shown = capsys.readouterr().out
    assert shown == "kowalski: timeout: 300 → 60\nkowalski: hosts: gloria: token: None → SecretStr('**********')\n"
    assert command.main(["--check-configs", "--default-config-name", "others.yaml"]) == 0
    assert "timeout" not in capsys.readouterr().out


def test_verbose_decides_what_is_printed(capsys) -> None:
    def run(call: Call) -> None:
        call.say("one")
        call.say("two", 2)

    command = Command("a", "", (), run)
    for words, shown in ((["--verbose", "0"], ""), ([], "one\n"), (["--verbose", "2"], "one\ntwo\n")):
        command.main(words)
        assert capsys.readouterr().out == shown


def test_help_loads_nothing_heavy(folder) -> None:
    code = (
        "import sys\nfrom scope_dask.commands._parser import Command\n"
        "try: Command('a', '', (), print).main(['--help'])\n"
        "except SystemExit: print(*sorted({'numpy', 'pandas', 'numba', 'dask', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("module", [_parser, _quadrants])
def test_the_examples_of_the_docstrings(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("bounds", [(0,), (17,), (1, 17), (3, 2), (), (1, 2, 3)])
def test_ranges_outside_are_refused(bounds) -> None:
    with pytest.raises(
        OptionError, match=r"--ccd-range is .*, expected one number or a first and a last one, from 1 to"
    ):
        _quadrants.numbers_between(bounds, _quadrants.CCDS, "--ccd-range")
