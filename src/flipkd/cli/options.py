"""Command-line options from settings models: one option per field, with the name of the field."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape
from typer.core import TyperCommand

from flipkd.errors import UsageError
from flipkd.settings import Settings, type_members

METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", dict: "KEY=VALUE", list: "A,B"}
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="print JSON instead of tables")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML file of settings")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="one setting with a YAML value; overrides the option of the same name"
    ),
]


class SettingsCommand(TyperCommand):
    """Command of a settings model; `--mapping.key value` sets one key of a mapping."""

    @property
    def settings(self) -> type[Settings]:
        """Return the settings model, an attribute that `command` sets on the function."""
        model: type[Settings] = self.callback.settings  # type: ignore[union-attr]
        return model

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; click calls this."""
        return super().parse_args(ctx, list(_split_dotted_options(args, self.settings.mapping_fields())))

    def hint(self, name: str) -> str:
        """Say what to write instead of an unknown option; empty when none is similar."""
        names = [name for parameter in self.params for name in parameter.opts]
        if name.strip("-") in names:
            return f"it is not an option: write its value without {name}"
        close = get_close_matches(name, names, n=1)
        return self.settings.hint_for_nested(name.strip("-")) or (f"did you mean {close[0]}?" if close else "")


def _split_dotted_options(arguments: list[str], mapping_fields: set[str]) -> Iterator[str]:
    """Rewrite `--mapping.key value` and `--mapping.key=value` as the two arguments `--mapping` and `key=value`."""
    left = iter(arguments)
    for argument in left:
        part = re.fullmatch(r"--(\w+)\.([^=]+)(=.*)?", argument, re.DOTALL)
        if argument == "--":
            yield argument
            yield from left
        elif part is None or part[1] not in mapping_fields:
            yield argument
        else:
            value = part[3][1:] if part[3] else next(left, None)
            if value is None:
                raise UsageError(f"{argument} needs a value: {argument} VALUE")
            yield from (f"--{part[1]}", f"{part[2]}={value}")


def command(run: Callable[..., None]) -> Callable[..., None]:
    """Return a function for typer that builds the settings and passes them to `run`.

    The first parameter of `run` is annotated with the settings model; its other parameters are options of the command too.
    """
    first, *extra_options = inspect.signature(run, eval_str=True).parameters.values()
    settings: type[Settings] = first.annotation
    flags = [name for name, field in settings.model_fields.items() if type_members(field.annotation) == [bool]]

    def run_with_settings(config: Path | None, assignments: list[str] | None, **given: Any) -> None:
        extra_values = {parameter.name: given.pop(parameter.name) for parameter in extra_options}
        off = {name: False for name in flags if given.pop(f"no_{name}")}
        run(settings.build(config, assignments or (), given | off), **extra_values)

    required_first = sorted(settings.model_fields.items(), key=lambda item: not item[1].is_required())
    options = [made for name, field in required_first for made in _parameters(name, field)]
    options += extra_options
    for name, annotation in (("config", Config), ("assignments", Assignments)):
        options.append(_keyword(name, annotation, None))
    signature = inspect.Signature([option.replace(kind=option.KEYWORD_ONLY) for option in options])
    run_with_settings.__signature__ = signature  # type: ignore[attr-defined]
    run_with_settings.__name__, run_with_settings.__doc__ = run.__name__, run.__doc__
    run_with_settings.settings = settings  # type: ignore[attr-defined]
    return run_with_settings


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _parameters(name: str, field: FieldInfo) -> Iterator[inspect.Parameter]:
    """Yield the option of a field; a flag also has a `--no-` option. The one that equals the default is hidden."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kinds = type_members(field.annotation)
    many = any(get_origin(kind) in (list, dict) for kind in kinds)
    about: dict[str, Any] = {
        "help": escape(f"{field.description}{_choices_text(kinds)}{_default_text(field)}"),
        "show_default": False,
        "metavar": _metavar_text(kinds),
        "rich_help_panel": extra.get("panel"),
    }
    if extra.get("argument"):
        about["metavar"] = name.upper() + ("..." if many else "")
        argument = typer.Argument(None, **about)
        yield _keyword(name, list[str] if many else str | None, argument)
    elif kinds == [bool]:
        yield _keyword(name, bool | None, typer.Option(None, f"--{name}", hidden=field.default is True, **about))
        about["help"] = f"turn off: {about['help']}"
        off = typer.Option(False, f"--no-{name}", hidden=field.default is False, **about)
        yield _keyword(f"no_{name}", bool, off)
    elif all(isinstance(kind, str) for kind in kinds):
        yield _keyword(name, Literal[tuple(kinds)] | None, typer.Option(None, f"--{name}", **about))
    else:
        yield _keyword(name, list[str] | None if many else str | None, typer.Option(None, f"--{name}", **about))


def _metavar_text(kinds: list[Any]) -> str:
    """Return the placeholder of the value in the help text; empty for a flag."""
    if kinds == [bool]:
        return ""
    types = [kind for kind in kinds if not isinstance(kind, str | int)]
    return METAVARS.get(get_origin(types[-1]) or types[-1], "CHOICE") if types else "CHOICE"


def _choices_text(kinds: list[Any]) -> str:
    names = [kind for kind in kinds if isinstance(kind, str)]
    if names and bool in kinds:
        names = ["true", "false", *names]
    return f" [{'|'.join(names)}]" if names else ""


def _default_text(field: FieldInfo) -> str:
    """Return the default in brackets; empty for None, whose meaning is in the description."""
    default = field.default
    if field.is_required():
        return " [required]"
    if isinstance(default, bool):
        default = "" if type_members(field.annotation) == [bool] else str(default).lower()
    elif isinstance(default, dict):
        default = ", ".join(f"{key}={value}" for key, value in default.items())
    elif isinstance(default, list):
        default = ",".join(map(str, default))
    return "" if default is None or default == "" else f" [default: {default}]"
