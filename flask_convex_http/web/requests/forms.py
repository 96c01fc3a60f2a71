"""Parse forms up to a limit of their text and of their fields.

Werkzeug limits each text field of a multipart form by itself, and URL-encoded forms not at all. 20 MiB of `a&a&a` cost
it 10 seconds and 1.7 GB. Files of a form count toward the limit of the body only.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from flask_convex_http.errors import PayloadTooLargeError, RequestError
from flask_convex_http.web.requests.requests import compressed_error, is_compressed

Form = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]

#: The content types that are parsed as a form.
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

_PIECE = 64 * 1024
#: Bytes of headers and boundaries that a form may have, and further ones for each part. Each header takes 3 µs.
_LONGEST_HEADERS, _HEADERS_OF_A_PART = 512 * 1024, 256


class FormParser(FormDataParser):
    """Werkzeug's parser of forms, with a limit on the text of a form in all.

    `max_form_memory_size` is the largest number of bytes of text, and `max_form_parts` of fields and files.
    """

    @classmethod
    def limit(cls, request: Request, size: int, fields: int) -> None:
        """Let a request parse its form with these limits, unless the application has a parser of its own."""
        if request.form_data_parser_class is FormDataParser:
            request.form_data_parser_class = _CompressedForm if is_compressed(request.environ) else cls
        request.max_form_memory_size = size
        request.max_form_parts = fields

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> Form:
        """Parse a form.

        Raises:
            PayloadTooLargeError: It has more text or more fields than allowed.
            RequestError: It is malformed (400). Werkzeug would return a form without fields.
        """
        self.silent = False
        try:
            if mimetype == "application/x-www-form-urlencoded":
                text = self._read_text(stream, content_length)
                return super().parse(BytesIO(text), mimetype, len(text), options)
            return super().parse(stream, mimetype, content_length, options)
        except ValueError:
            raise RequestError("The form is malformed, or is not UTF-8", 400) from None

    def _read_text(self, stream: IO[bytes], length: int | None) -> bytes:
        """Read a URL-encoded form, and count its fields before they are parsed."""
        tally = _Tally(self.max_form_memory_size, self.max_form_parts)
        tally.check_text(length or 0)
        tally.add_field()
        pieces: list[bytes] = []
        while piece := stream.read(_PIECE):
            tally.add_text(len(piece))
            tally.add_field(piece.count(b"&"))
            pieces.append(piece)
        return b"".join(pieces)

    def _parse_multipart(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str]
    ) -> Form:
        boundary = options.get("boundary", "").encode("ascii")
        if not boundary:
            raise ValueError("Missing boundary")
        parts = _Parts(self, content_length)
        try:
            for event in parts.events(stream, boundary):
                parts.take(event)
        except BaseException:
            parts.close()
            raise
        return stream, self.cls(parts.fields), self.cls(parts.files)


class _CompressedForm(FormDataParser):
    """Refuses a compressed form, in which Werkzeug would find no fields."""

    def parse(self, *args: Any, **options: Any) -> Form:
        """Raise RequestError."""
        raise compressed_error()


class _Tally:
    """Counts the text and the fields of a form."""

    def __init__(self, most_text: int | None, most_fields: int | None) -> None:
        self.text = self.headers = self.fields = 0
        self._most_text = most_text
        self._most_fields = most_fields

    def check_text(self, size: int) -> None:
        if self._most_text is not None and size > self._most_text:
            raise self.too_much_text()

    def add_text(self, size: int) -> None:
        self.text += size
        self.check_text(self.text)

    def add_headers(self, size: int) -> None:
        """Count bytes that are neither text nor files."""
        self.headers += size
        if self.headers > _LONGEST_HEADERS + _HEADERS_OF_A_PART * self.fields:
            raise self.too_long_headers()

    def add_field(self, count: int = 1) -> None:
        self.fields += count
        if self._most_fields is not None and self.fields > self._most_fields:
            raise PayloadTooLargeError(
                f"The form has more than {self._most_fields} fields "
                "(max_form_fields= of the route or CONVEX_MAX_FORM_FIELDS)"
            )

    def too_long_headers(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(
            f"The headers of the form's {self.fields} parts are larger than {_LONGEST_HEADERS} bytes "
            f"and {_HEADERS_OF_A_PART} for each part"
        )

    def too_much_text(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(
            f"The text of the form is larger than {self._most_text} bytes "
            "(max_form_bytes= of the route or CONVEX_MAX_FORM_BYTES)"
        )


class _Parts:
    """The parts of a multipart form, as its decoder finds them."""

    def __init__(self, parser: FormParser, content_length: int | None) -> None:
        self.fields: list[tuple[str, str]] = []
        self.files: list[tuple[str, FileStorage]] = []
        self._tally = _Tally(parser.max_form_memory_size, parser.max_form_parts)
        self._helper = MultiPartParser(parser.stream_factory)
        self._content_length = content_length
        self._part: Field | File | None = None
        self._text: list[bytes] = []
        self._file: IO[bytes] | None = None

    def events(self, stream: IO[bytes], boundary: bytes) -> Iterator[Event]:
        """Read a form, and yield its parts and their data."""
        decoder = MultipartDecoder(boundary, _LONGEST_HEADERS)
        more = True
        while more:
            piece = stream.read(_PIECE)
            more = bool(piece)
            self._tally.add_headers(len(piece))
            try:
                decoder.receive_data(piece or None)
            except RequestEntityTooLarge:
                raise self._tally.too_long_headers() from None
            while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
                yield event

    def take(self, event: Event) -> None:
        """Take the next part, or data of the part."""
        if isinstance(event, Field | File):
            self._tally.add_field()
            self._part, self._text = event, []
            if isinstance(event, File):
                self._file = self._helper.start_file_streaming(event, self._content_length)
        elif isinstance(event, Data):
            self._tally.headers -= len(event.data)
            self._add_data(event)

    def close(self) -> None:
        """Close the files of a form that broke off."""
        for _, file in self.files:
            file.close()
        if self._file is not None:
            self._file.close()

    def _add_data(self, event: Data) -> None:
        part: Any = self._part
        if self._file is not None:
            self._file.write(event.data)
            if not event.more_data:
                self._file.seek(0)
                file = FileStorage(self._file, part.filename, part.name, headers=part.headers)
                self.files.append((part.name, file))
                self._file = None
            return
        self._tally.add_text(len(event.data))
        self._text.append(event.data)
        if not event.more_data:
            text = b"".join(self._text).decode(self._helper.get_part_charset(part.headers), "replace")
            self.fields.append((part.name, text))
