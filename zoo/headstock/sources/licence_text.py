"""Recognise a licence by its words: the whole text must be the licence, or the answer is `NOASSERTION`."""

from __future__ import annotations

import hashlib
import re

from headstock.sources.licence_ids import NOASSERTION

_MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice and
this permission notice shall be included in all copies or substantial portions of the Software. THE SOFTWARE IS PROVIDED
"AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""

_BSD_HEAD = """Redistribution and use in source and binary forms, with or without modification, are permitted provided
that the following conditions are met: NUMBER Redistributions of source code must retain the above copyright notice,
this list of conditions and the following disclaimer. NUMBER Redistributions in binary form must reproduce the above
copyright notice, this list of conditions and the following disclaimer in the documentation and/or other materials
provided with the distribution."""
_BSD_THIRD = """NUMBER Neither the name of OWNER nor the names of OWNER may be used to endorse or promote products
derived from this software without specific prior written permission."""
_BSD_TAIL = """THIS SOFTWARE IS PROVIDED BY OWNER "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT
LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT
SHALL OWNER BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT
NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION)
HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR
OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE."""

# SHA-256 of the words from the first numbered section to the closing line: title and appendix vary, the terms do not.
_APACHE_2 = "83d450e65487bded604e316138d44bad29b2370fe89c4bea8a4c8bb6427ae8e1"
_APACHE_TEXT = re.compile(
    r"apache license version 2 0 (?:january 2004 )?(?:https? www apache org licenses )?"
    r"(?:terms and conditions for use reproduction and distribution )?"
    r"(?P<terms>1 definitions license shall mean .*? end of terms and conditions)"
    r"(?: appendix how to apply the apache license to your work .{0,1200} limitations under the license)?"
)

# What may stand before the words of a short licence: its title, and lines that only say who owns the work.
_TITLE = r"(?:(?:the )?(?:mit|expat|bsd(?: [23] clause)?|[23] clause bsd|new bsd|modified bsd)? ?licen[sc]e (?:mit )?)?"
OWNER_LINE = re.compile(
    r"^\W*(?!.*\b(?:use|used|only|may|must|permission|commercial)\b)"
    r"(?:copyright\b|\(c\)|©|all rights reserved).{0,160}$",
    re.IGNORECASE | re.MULTILINE,
)
_BODY = re.compile(r"permission is hereby|redistribution and use|apache license", re.IGNORECASE)


def recognise(text: str) -> str:
    """SPDX id of a licence text, else `NOASSERTION`: a changed, extended or quoted licence is another licence."""
    text = text[:200_000]
    # Only before the terms: inside them a wrapped line may begin with "copyright" too.
    body = _BODY.search(text)
    start = body.start() if body else 0
    words = _words(OWNER_LINE.sub("", text[:start]) + text[start:])
    for spdx, pattern in _PATTERNS.items():
        if pattern.fullmatch(words):
            return spdx
    apache = _APACHE_TEXT.fullmatch(words)
    if apache and hashlib.sha256(apache["terms"].encode()).hexdigest() == _APACHE_2:
        return "Apache-2.0"
    return NOASSERTION


def first_words(text: str, limit: int = 120) -> str:
    """The beginning of a document on one line, for the record of what was not understood."""
    return " ".join(text[: 4 * limit].split())[:limit]


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _pattern(body: str) -> re.Pattern[str]:
    # Owners and list numbers differ from project to project; every other word must match.
    words = _words(body).replace("owner", r"(?:[a-z0-9]+ ){0,14}[a-z0-9]+").replace("number ", r"(?:[1-3abc] )?")
    return re.compile(_TITLE + words)


_PATTERNS = {
    "MIT": _pattern(_MIT),
    "BSD-3-Clause": _pattern(f"{_BSD_HEAD} {_BSD_THIRD} {_BSD_TAIL}"),
    "BSD-2-Clause": _pattern(f"{_BSD_HEAD} {_BSD_TAIL}"),
}
