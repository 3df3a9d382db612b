"""Options from settings: a command has one option for each field of its settings model, named as the field."""

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
from flipkd.settings import Settings, members

METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", dict: "KEY=VALUE", list: "A,B"}
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="print JSON instead of tables")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML file of settings")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="one setting, its value as in YAML; wins over its option"),
]


class SettingsCommand(TyperCommand):
    """A command over a settings model; `--mapping.key value` sets one part of a mapping."""

    @property
    def settings(self) -> type[Settings]:
        """The model, which `command` has left on the function."""
        model: type[Settings] = self.callback.settings  # type: ignore[union-attr]
        return model

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line; click calls it."""
        return super().parse_args(ctx, list(_without_dots(args, self.settings.mappings())))

    def hint(self, name: str) -> str:
        """What may have been meant by an option that there is not; empty where nothing is near."""
        options = [option for parameter in self.params for option in parameter.opts]
        close = get_close_matches(name, options, n=1, cutoff=0.5)
        return self.settings.elsewhere(name.strip("-")) or (f"did you mean {close[0]}?" if close else "")


def _without_dots(words: list[str], mappings: set[str]) -> Iterator[str]:
    """`--mapping.key value` and `--mapping.key=value` as the words `--mapping` and `key=value`."""
    left = iter(words)
    for word in left:
        part = re.fullmatch(r"--(\w+)\.([^=]+)(=.*)?", word, re.DOTALL)
        if word == "--":
            yield word
            yield from left
        elif part is None or part[1] not in mappings:
            yield word
        else:
            value = part[3][1:] if part[3] else next(left, None)
            if value is None:
                raise UsageError(f"{word} needs a value: {word} VALUE")
            yield from (f"--{part[1]}", f"{part[2]}={value}")


def command(run: Callable[..., None]) -> Callable[..., None]:
    """A function for typer that reads settings and gives them to `run`.

    The first parameter of `run` is annotated with the settings model; its further ones are options of the command too.
    """
    first, *own = inspect.signature(run, eval_str=True).parameters.values()
    settings: type[Settings] = first.annotation
    switches = [name for name, field in settings.model_fields.items() if members(field.annotation) == [bool]]

    def called(config: Path | None, assignments: list[str] | None, **given: Any) -> None:
        further = {parameter.name: given.pop(parameter.name) for parameter in own}
        off = {name: False for name in switches if given.pop(f"no_{name}")}
        run(settings.build(config, assignments or (), given | off), **further)

    options = [made for name, field in settings.model_fields.items() for made in _parameters(name, field)]
    options += own
    for name, annotation in (("config", Config), ("assignments", Assignments)):
        options.append(_keyword(name, annotation, None))
    called.__signature__ = inspect.Signature([option.replace(kind=option.KEYWORD_ONLY) for option in options])  # type: ignore[attr-defined]
    called.__name__, called.__doc__ = run.__name__, run.__doc__
    called.settings = settings  # type: ignore[attr-defined]
    return called


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _parameters(name: str, field: FieldInfo) -> Iterator[inspect.Parameter]:
    """The option of a field; for a switch also the one that turns it off, hidden where that is the default."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kinds = members(field.annotation)
    many = any(get_origin(kind) in (list, dict) for kind in kinds)
    about: dict[str, Any] = {
        "help": escape(f"{field.description}{_choices(kinds)}{_default(field)}"),
        "show_default": False,
        "metavar": _metavar(kinds),
        "rich_help_panel": extra.get("panel"),
    }
    if extra.get("argument"):
        about["metavar"] = name.upper() + ("..." if many else "")
        argument = typer.Argument(None, **about)
        yield _keyword(name, list[str] if many else str | None, argument)
    elif kinds == [bool]:
        yield _keyword(name, bool | None, typer.Option(None, f"--{name}", hidden=field.default is True, **about))
        about["help"] = f"do not {about['help']}"
        off = typer.Option(False, f"--no-{name}", hidden=field.default is False, **about)
        yield _keyword(f"no_{name}", bool, off)
    elif all(isinstance(kind, str) for kind in kinds):
        yield _keyword(name, Literal[tuple(kinds)] | None, typer.Option(None, f"--{name}", **about))
    else:
        yield _keyword(name, list[str] | None if many else str | None, typer.Option(None, f"--{name}", **about))


def _metavar(kinds: list[Any]) -> str:
    """What stands for the value in the help; a switch has none."""
    if kinds == [bool]:
        return ""
    types = [kind for kind in kinds if not isinstance(kind, str | int)]
    return METAVARS.get(get_origin(types[-1]) or types[-1], "CHOICE") if types else "CHOICE"


def _choices(kinds: list[Any]) -> str:
    names = [kind for kind in kinds if isinstance(kind, str)]
    if names and bool in kinds:
        names = ["true", "false", *names]
    return f" [{'|'.join(names)}]" if names else ""


def _default(field: FieldInfo) -> str:
    """The default in brackets, unless the description says what nothing means."""
    default = field.default
    if field.is_required():
        return " [required]"
    if isinstance(default, bool):
        default = "" if members(field.annotation) == [bool] else str(default).lower()
    elif isinstance(default, dict):
        default = ", ".join(f"{key}={value}" for key, value in default.items())
    elif isinstance(default, list):
        default = ",".join(map(str, default))
    return "" if default is None or default == "" else f" [default: {default}]"
