"""Pages to look at: one template language, one stylesheet, one small script; a page works from the file system."""

from .page import Pictures, write_page

__all__ = ["Pictures", "write_page"]
