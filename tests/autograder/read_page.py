"""What a browser would see of a page."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "hr", "input", "rect", "line", "link"}


class Page(HTMLParser):
    """Everything a browser would see: tags with attributes, text, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.parts: list[str] = []
        self.feed(text)
        self.close()
        self.text = "".join(self.parts)

    def handle_starttag(self, tag, attrs):
        if tag in ("br", "li"):
            self.parts.append(" ")
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.parts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]
