"""Report pages: one HTML file that works offline, loads nothing and runs only its own two scripts."""

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
    """Render the page as HTML, with the same bytes for the same comparison. Raises ConfigError without the extra `report`."""
    require_extra("report", user="the report")
    from flipkd.report import charts, sections

    values, found = sections.contents(comparison)
    values["explorer"] = charts.as_json(values["explorer"])
    values["class_colours"] = charts.CLASS_COLOURS
    return render_page("page.html.j2", values, found)


def render_page(template: str, values: dict[str, Any], specs: dict[str, dict[str, Any]]) -> str:
    """Render a template of this package with its values, charts by name, and the style and scripts of all pages."""
    from flipkd.report.charts import as_json

    scripts = [_chart_library(), _resource("page.js")]
    html: str = _template(template).render(
        **values,
        charts={name: as_json(spec) for name, spec in specs.items()},
        scripts=scripts,
        style=_resource("page.css"),
        policy=_policy(scripts),
        words=words,
    )
    return html


def _template(name: str) -> Any:
    """Return the template; every printed text gets its invisible characters and its HTML escaped."""
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return words.escape_invisible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=shown, lstrip_blocks=True
    )
    return environment.from_string(_resource(name))


@lru_cache(maxsize=1)
def _chart_library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script (0.9 MB), in the version of altair's specs."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    return bundle.replace("</script", "<\\/script")


def _policy(scripts: list[str]) -> str:
    """Return the content security policy: no network, and only these scripts, by their sha256."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return resources.files("flipkd.report").joinpath(name).read_text(encoding="utf-8")
