"""``post-taxonomy``: a tree of classes to Fritz, once."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scope_dask.commands._layout import find_file
from scope_dask.commands._parser import Call, Command, option, values
from scope_dask.errors import SchemaError, SourceError

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
    from scope_dask.errors import UsageError
    from scope_dask.formats.atomic import replacing
    from scope_dask.fritz import Fritz
    from scope_dask.fritz.groups import check_groups
    from scope_dask.fritz.taxonomies import classes_of, post_taxonomy, taxonomies

    options = call.options
    tree = read_hierarchy(find_file(options.taxonomy))
    groups = tuple(options.group_ids or ())
    title = f"{options.name} {options.version}"
    if call.dry_run:
        seen = f"groups {', '.join(map(str, groups))}" if groups else "everybody"
        call.say(f"would post {title} to {Fritz.from_config(call.config)}, for {seen}: {', '.join(classes_of(tree))}")
        call.say(f"would write {RESULT}")
        return
    with Fritz.from_config(call.config) as fritz:
        groups = check_groups(fritz, groups) if groups else ()
        there = [t for t in taxonomies(fritz).values() if (t["name"], t["version"]) == (options.name, options.version)]
        same = next((t for t in there if t["hierarchy"] == tree), None)
        if there and same is None:
            raise UsageError(f"Fritz has another tree as {title}, taxonomy {there[-1]['id']}: give another --version")
        number = (
            int(same["id"])
            if same is not None
            else post_taxonomy(
                fritz, options.name, options.version, tree, provenance=options.provenance, group_ids=groups
            )
        )
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps({**known, title: number}, indent=2) + "\n")
    call.say(f"{title} is taxonomy {number}" + (", and was before" if same is not None else ""))


COMMAND = Command("post-taxonomy", "Post a taxonomy to Fritz.", ARGUMENTS, run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
