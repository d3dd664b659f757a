"""The documentation says what is there."""

from __future__ import annotations

import importlib
import itertools
import json
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mintage.v1
import pytest

from service.jobs.plan import MAX_PRIORITY
from service.jobs.scoring.statistics import MAX_ROWS
from service.jobs.sources.folder import HANDFUL, MAX_UNREADABLE
from service.jobs.storage.bucket_store import UPLOAD_S
from service.metrics import Metrics
from service.models.asking.admission import Admissions
from service.models.collector import ModelCollector
from service.models.registry import Registry
from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
ROOMS = ("service", "handlers", "training")


def test_the_page_of_the_layout_is_that_of_the_files() -> None:
    check = subprocess.run([sys.executable, DOCS / "tree.py", "--check"], check=False)

    assert check.returncode == 0, "run: python docs/tree.py"


def test_the_reference_of_the_api_is_that_of_the_contract() -> None:
    check = subprocess.run([sys.executable, DOCS / "api.py", "--check"], check=False)

    assert check.returncode == 0, "run: python docs/api.py"


def test_the_help_in_the_docs_is_that_of_the_command() -> None:
    check = subprocess.run([sys.executable, DOCS / "commands.py", "--check"], check=False)

    assert check.returncode == 0, "run: python docs/commands.py"


def test_every_metric_is_documented_with_its_type_and_labels(tmp_path: Path) -> None:
    found = {}
    for family in [
        *Metrics().collection.collect(),
        *ModelCollector(Admissions(calls=1, held_bytes=1), Registry(tmp_path)).collect(),
    ]:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = family.type
    rows = re.findall(r"^\| `(mintage_\w+)` \| (\w+) \| ([^|]+) \|", (DOCS / "deploy.md").read_text(), re.MULTILINE)

    assert {name: kind for name, kind, _ in rows} == found
    assert {name: re.findall(r"`(\w+)`", labels) for name, _, labels in rows} == {
        "mintage_api_calls_total": list(Metrics().calls._labelnames),
        "mintage_api_call_seconds": list(Metrics().seconds._labelnames),
        "mintage_api_calls_in_flight": list(Metrics().in_flight._labelnames),
        "mintage_images_total": list(Metrics().images._labelnames),
        "mintage_model_calls": ["backend"],
        "mintage_model_ready": ["model"],
        "mintage_model_withdrawn_batch_sizes": ["model"],
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        if "://" not in target and not (file.exists() and (not heading or heading in anchors(file))):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_is_whole(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    blocks = [[line for line in block.splitlines() if line.startswith("|")] for block in prose.split("\n\n")]

    for table in filter(None, blocks):
        assert re.fullmatch(r"\|( -+:? \|)+", table[1]), f"a blank line cuts the table before {table[0]}"
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in table} == {table[1].count("|")}, table[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page: Path) -> None:
    assert [problem for command in commands(page) for problem in problems(command)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_exists(page: Path) -> None:
    from_the_shell = {"MINTAGE_INPUTS", "MINTAGE_CLIENT"}  # read by docker-compose.yml and by the command line
    named = set(re.findall(r"MINTAGE_[A-Z0-9_]*[A-Z0-9]\b(?!_|\*)", page.read_text())) - from_the_shell

    assert named - {f"MINTAGE_{name.upper()}" for name in Settings.model_fields} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_source_exists(page: Path) -> None:
    named = re.findall(
        r"\b((?:service|training|handlers|protos|tests|benchmarks|docs)/[\w/]+\.(?:py|proto|md))\b", page.read_text()
    )

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_fault_names_a_test() -> None:
    cells = re.findall(r"\| `([a-z_ ]+)` \|$", (DOCS / "reliability.md").read_text(), re.MULTILINE)
    tests = re.findall(r"def (test_\w+)", "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py")))

    assert cells
    assert [name for cell in cells for name in cell.split(" or ") if not any(name in test for test in tests)] == []


def test_every_recipe_is_in_the_table_of_recipes_and_no_other() -> None:
    from training.recipes import RECIPES

    cells = first_column(section(DOCS / "training.md", "Recipes"))

    assert sorted(name for cell in cells for name in re.findall(r"`([^`]+)`", cell)) == sorted(RECIPES)


def test_the_readme_gives_the_sizes_that_mint_gives() -> None:
    sizes = set(
        re.findall(
            r"\d+ (?:MB|GB)",
            re.sub(r"\(.* on disk\)", "", ((ROOT / "mint").read_text() + (ROOT / "locks" / "install.py").read_text())),
        )
    )

    assert set(re.findall(r"\d+ (?:MB|GB)", README.read_text())) == sizes


def test_the_readme_gives_only_numbers_that_were_measured() -> None:
    claims = README.read_text().split("```")[0] + section(README, "Numbers")
    figures = set(re.findall(r"\d[\d,]*\.?\d*", re.sub(r"\]\(.*?\)|\d+ [MG]B|Python [\d.]+", "", claims)))
    measured = set(re.findall(r"\d[\d,]*\.?\d*", (DOCS / "results.md").read_text()))

    assert {figure.rstrip(".,") for figure in figures} - {figure.rstrip(".,") for figure in measured} == set()


def test_the_readme_gives_the_figures_of_the_shipped_models() -> None:
    numbers = section(README, "Numbers")
    concepts = json.loads((ROOT / "models" / "face-neuron" / "concepts.json").read_bytes())["concepts"]
    face = next(concept for concept in concepts if concept["name"] == "face")
    accuracy, low, high = (100 * face[key] for key in ("accuracy", "accuracy_low", "accuracy_high"))
    cards = [(ROOT / "models" / run / "card.md").read_text() for run in ("digits-ssgan", "digits-student")]
    measured = [re.findall(r"\| Test accuracy \| ([\d.]+) % of (\d+) test images", card)[0] for card in cards]

    assert f"{accuracy:.1f} % ({low:.1f} to {high:.1f})" in numbers
    for right, images in measured:
        assert f"{round(int(images) * (1 - float(right) / 100))} errors of {int(images):,}" in numbers


def test_pages_give_the_limits_and_defaults_of_the_code() -> None:
    settings = {name: field.default for name, field in Settings.model_fields.items()}
    pause_s, attempts = round(settings["space_pause_s"]), settings["max_attempts"]
    promised = {
        "api.md": [f"`MINTAGE_MAX_DEADLINE_S` ({round(settings['max_deadline_s'])} s)"],
        "architecture.md": [f"after {attempts} failed attempts"],
        "deploy.md": [f"up to {UPLOAD_S // 60} minutes", f"# default {settings['s3_region']}"],
        "jobs.md": [f"from -{MAX_PRIORITY} to {MAX_PRIORITY}"],
        "reliability.md": [f"after {pause_s} s and {2 * pause_s} s more", f"fails after {attempts} attempts"],
        "scoring.md": [f"at most {MAX_ROWS:,} images", f"or {HANDFUL} if that is more", f"or {MAX_UNREADABLE:,}"],
    }

    assert {
        name: missing
        for name, texts in promised.items()
        if (missing := [t for t in texts if t not in flat(DOCS / name)])
    } == {}


def test_pages_call_methods_of_the_client_that_exist() -> None:
    from mintage.client import Client

    called = {method for page in PAGES for method in re.findall(r"\bclient\.([a-z_]+)\(", page.read_text())}

    assert called
    assert [method for method in sorted(called) if not callable(getattr(Client, method, None))] == []


def test_the_readme_and_the_architecture_name_the_folders_that_there_are() -> None:
    readme = re.findall(r"^([a-z]\S*)", section(README, "The tree").split("```")[1], re.MULTILINE)
    packages = " ".join(first_column(section(DOCS / "architecture.md", "Packages")))
    rooms = {path.parent.relative_to(ROOT).as_posix() for top in ROOMS for path in ROOT.glob(f"{top}/*/__init__.py")}

    assert readme
    assert [path for path in readme if not (ROOT / path).exists()] == []
    assert set(re.findall(r"`(\w+/\w+)`", packages)) - {"protos/mintage"} == rooms


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=~ ;]", each)[0] for each in needed} - {"mintage"}

    assert names - set(first_column((DOCS / "dependencies.md").read_text())) == set()


def test_every_term_of_the_contract_and_of_the_architecture_is_in_the_glossary_in_alphabetical_order() -> None:
    terms = [cell.strip("`") for cell in first_column((DOCS / "glossary.md").read_text())]
    modules = (module.name for module in pkgutil.iter_modules(mintage.v1.__path__, "mintage.v1."))
    files = [importlib.import_module(name).DESCRIPTOR for name in modules if name.endswith("_pb2")]
    words = first_column(section(DOCS / "architecture.md", "Words"))

    assert {name for file in files for name in nouns(file)} - set(terms) == set()
    assert words
    assert set(words) - {term.lower() for term in terms} == set()
    assert terms == sorted(terms, key=str.lower)


def nouns(file: Any) -> Iterator[str]:
    """The services, enums and messages of a .proto that name a thing, without the envelopes of calls."""
    names: Mapping[str, Any] = {**file.services_by_name, **file.enum_types_by_name, **file.message_types_by_name}
    return (name for name in names if not name.endswith(("Request", "Response")))


def commands(page: Path) -> list[list[str]]:
    """Every `mintage ...` of a page, in code blocks and in running text, as words; placeholders stay."""
    text = page.read_text().replace("\\\n", " ").replace("\\|", "|")
    said = re.findall(r"^(?:\$ )?\./mint (.+)$|^mintage (.+)$", text, re.MULTILINE)
    said += re.findall(r"`(?:\./mint|mintage) ([^`\n]+)`()", text)
    chained = (part for pair in said for part in re.split(r" (?:&& \./mint|&& mintage) ", "".join(pair)))
    return [shlex.split(re.sub(r'"\$\(.*', "", one), comments=True) for one in chained]


def problems(command: list[str]) -> Iterator[str]:
    """What the command line does not know of a command."""
    from typer.main import get_command

    from service.cli import app

    if command[0] == "extra":  # of ./mint, as `test` is
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        if command[1] not in extras:
            yield f"there is no extra {command[1]}"
        return
    if command[0] in ("test", "..."):
        return
    verb: Any = get_command(app)
    own = 0  # arguments of a group that come before its verb
    for word in command:
        if word in ("&&", "#"):
            return
        if own and not word.startswith("-"):
            own -= 1
        elif hasattr(verb, "commands") and not word.startswith("-"):
            alternatives = word.split("|")
            if unknown := [each for each in alternatives if each not in verb.commands and each != "..."]:
                yield f"{' '.join(command)}: no verb {unknown[0]}"
                return
            verb = verb.commands.get(alternatives[0], verb)
            is_group = hasattr(verb, "commands")
            own = sum(each.param_type_name == "argument" for each in verb.params) if is_group else 0
        elif re.match(r"--?[a-z]", word):
            known = {"--help", *(name for each in verb.params for name in (*each.opts, *each.secondary_opts))}
            if word.partition("=")[0] not in known:
                yield f"{' '.join(command)}: no option {word}"


def section(page: Path, heading: str) -> str:
    """What stands below a heading of the second level."""
    return page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def first_column(text: str) -> list[str]:
    """The first cell of every row of the tables in a text, without their heads."""
    lines = [*text.splitlines(), ""]
    rows = [line for line, after in itertools.pairwise(lines) if line.startswith("| ") and "| ---" not in line + after]
    return [row.split("|")[1].strip() for row in rows]


def flat(page: Path) -> str:
    """A page's text, wherever its lines are broken."""
    return page.read_text().replace("\n", " ")


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
