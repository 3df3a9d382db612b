"""The page itself: one file of HTML that opens offline, loads nothing and runs no script but its own two."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib import resources
from typing import Any

from flipkd.extras import require_extra
from flipkd.report import words
from flipkd.report.comparison import Comparison


def render(comparison: Comparison) -> str:
    """The whole page as HTML, the same bytes for the same comparison. Raises ConfigError without the extra `report`."""
    require_extra("report", user="the report")
    from flipkd.report import charts, sections

    values, found = sections.contents(comparison)
    scripts = [_chart_library(), _resource("page.js")]
    values["charts"] = {name: charts.as_json(spec) for name, spec in found.items()}
    values["explorer"] = charts.as_json(values["explorer"])
    values["scripts"] = scripts
    values["style"] = _resource("page.css")
    values["policy"] = _policy(scripts)
    values["class_colours"] = charts.CLASS_COLOURS
    values["words"] = words
    html: str = _template().render(values)
    return html


def _template() -> Any:
    """The template; whatever text it prints is made visible, then escaped."""
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return words.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=shown, lstrip_blocks=True
    )
    return environment.from_string(_resource("page.html.j2"))


@lru_cache(maxsize=1)
def _chart_library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, in the version that altair writes specs for: 0.9 MB."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    return bundle.replace("</script", "<\\/script")


def _policy(scripts: list[str]) -> str:
    """The content security policy: no network, no script but these two, whose sha256 it names."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return resources.files("flipkd.report").joinpath(name).read_text(encoding="utf-8")
