"""Write a page that needs no server and loads nothing from elsewhere: style and script are in it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from ..outputs.files import write_whole
from ..version import version


@dataclass
class Pictures:
    """Where a page's pictures go: into a folder beside it, or, with `inside`, into the page itself."""

    page: Path
    inside: bool = False
    count: int = field(default=0, init=False)

    @property
    def folder(self) -> Path:
        return self.page.with_name(f"{self.page.stem}_files")

    def add(self, image: Image.Image, quality: int = 88) -> str:
        """What to write as ``src``."""
        name = f"{self.count:04d}.jpg"
        self.count += 1
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=quality)
        if self.inside:
            return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data.getvalue())
        return f"{self.folder.name}/{name}"


def write_page(template: str, target: Path, **content: Any) -> None:
    """Fill in `template` (a file of templates/) and write it as UTF-8, whole or not at all.

    Every value is escaped: a name with quotes or markup in it stays a name. A value that a template asks for and
    nobody gives is an error.
    """
    text = _environment().get_template(template).render(**content)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Bytes of a name that are no text become a character that says so.
    write_whole(target, text.encode("utf-8", "xmlcharrefreplace"))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _text("templates", name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Ours: nothing of a user's goes into them.
    environment.globals |= {
        "style": Markup(_text("style.css")),
        "script": Markup(_text("page.js")),
        "gallery_script": Markup(_text("gallery.js")),
        "version": version(),
    }
    return environment


def _text(*names: str) -> str:
    return resources.files(__package__).joinpath(*names).read_text(encoding="utf-8")
