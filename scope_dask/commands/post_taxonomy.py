"""``post-taxonomy``: a tree of classes to Fritz, once."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._layout import find_file
from scope_dask.commands._parser import Call, Command, option, values
from scope_dask.errors import SchemaError, SourceError

if TYPE_CHECKING:
    from argparse import Namespace

    from scope_dask.fritz import Fritz

RESULT = Path("fritzTaxonomies.json")

ARGUMENTS = (
    option(
        "--taxonomy", "file with the tree: class, and a list subclasses of such trees", default="phenomenological.yaml"
    ),
    values("--group-ids", "groups that see it; everybody if not given", int),
    option("--name", "name of the taxonomy", default="Scope Phenomenological Taxonomy"),
    option("--version", "its version", default="1.0.0"),
    option("--provenance", "where it comes from", default="github"),
)


def read_hierarchy(path: Path) -> dict[str, Any]:
    """Read a tree of classes.

    Raises
    ------
    SourceError
        If the file is no YAML.
    SchemaError
        With everything that is wrong with the tree.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SourceError(f"the taxonomy {path} cannot be read: {str(error).splitlines()[0]}") from None
    problems = list(_problems(content, "the root"))
    if not problems:
        from scope_dask.fritz.taxonomies import classes_of

        counts = Counter(classes_of(content))
        problems = [f"{name!r} is there {count} times" for name, count in counts.items() if count > 1]
    if problems:
        raise SchemaError(f"{path} is no taxonomy: {'; '.join(problems)}")
    return dict(content)


def _problems(tree: Any, where: str) -> Iterator[str]:
    if not isinstance(tree, Mapping):
        yield f"{where} is {type(tree).__name__}, expected class and subclasses"
        return
    name = tree.get("class")
    if not isinstance(name, str) or not name.strip():
        yield f"{where} has no class"
    below = tree.get("subclasses", [])
    if not isinstance(below, list):
        yield f"subclasses of {name or where} is {type(below).__name__}, expected a list"
        return
    for number, one in enumerate(below, 1):
        yield from _problems(one, f"subclass {number} of {name or where}")


def run(call: Call) -> None:
    """Post a taxonomy, or tell what would be posted."""
    from scope_dask.formats.atomic import replacing
    from scope_dask.fritz import Fritz
    from scope_dask.fritz.taxonomies import classes_of

    options = call.options
    tree = read_hierarchy(find_file(options.taxonomy))
    title, groups = f"{options.name} {options.version}", options.group_ids or ()
    known = _known()
    with Fritz.from_config(call.config) as fritz:
        if call.dry_run:
            seen = f"groups {', '.join(map(str, groups))}" if groups else "everybody"
            call.say(f"would post {title} to {fritz}, for {seen}: {', '.join(classes_of(tree))}")
            call.say(f"would write {RESULT}")
            return
        number, before = _posted(fritz, options, tree)
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps({**known, title: number}, indent=2) + "\n")
    call.say(f"{title} is taxonomy {number}" + (", and was before" if before else ""))


def _known() -> dict[str, Any]:
    """Return the numbers that the result file has.

    Raises
    ------
    SourceError
        If it holds something else.
    """
    if not RESULT.is_file():
        return {}
    try:
        return dict(json.loads(RESULT.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise SourceError(f"{RESULT} does not hold names and numbers of taxonomies: move it away") from None


def _posted(fritz: Fritz, options: Namespace, tree: dict[str, Any]) -> tuple[int, bool]:
    """Return the number of a taxonomy, and whether Fritz had it before.

    Raises
    ------
    FritzInputError, UsageError
        Before anything is sent, if a group is unknown, or Fritz has another tree of this name and version.
    FritzError
    """
    from scope_dask.errors import UsageError
    from scope_dask.fritz.groups import check_groups
    from scope_dask.fritz.taxonomies import post_taxonomy, taxonomies

    groups = check_groups(fritz, options.group_ids) if options.group_ids else ()
    there = [t for t in taxonomies(fritz).values() if (t["name"], t["version"]) == (options.name, options.version)]
    if same := [t for t in there if t["hierarchy"] == tree]:
        return int(same[0]["id"]), True
    if there:
        title = f"{options.name} {options.version}"
        raise UsageError(f"Fritz has another tree as {title}, taxonomy {there[-1]['id']}: give another --version")
    more = {"provenance": options.provenance, "group_ids": groups}
    return post_taxonomy(fritz, options.name, options.version, tree, **more), False


COMMAND = Command("post-taxonomy", "Post a taxonomy to Fritz.", ARGUMENTS, run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
