"""The page: one HTML file with its style and its program in it, which loads nothing else."""

import base64
import hashlib
import pathlib

_HERE = pathlib.Path(__file__).parent


def _part(suffix: str) -> str:
    return (_HERE / f"page.{suffix}").read_text("utf-8")


def html() -> str:
    """The whole page."""
    page = _part("html").replace("/* style */", _part("css"))
    return page.replace("/* program */", _part("js"))


def headers() -> dict[str, str]:
    """What a browser lets the page do: run this program, and talk to this server."""
    rules = {
        "default-src": "'none'",
        "script-src": _hash(_part("js")),
        "style-src": _hash(_part("css")),
        "img-src": "data:",
        "media-src": "blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{k} {v}" for k, v in rules.items()),
        "permissions-policy": "camera=(self), microphone=(self)",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


def _hash(text: str) -> str:
    code = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{code}'"
