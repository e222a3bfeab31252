"""The configuration of the page: the table `[web]` of the daemon's file."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

from ccnvr.edge.streams.settings import check_address, check_port, is_loopback
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

FEWEST_TOKEN_CHARACTERS, MOST_TOKEN_BYTES = 16, 4096


@frozen
class WebConfig:
    """The page's port; `port = 0` opens none.

    A `host` beyond loopback needs a `token_file`, which holds a secret of at least 16 characters:
    whoever has it may read everything and start scans. `names` are further names by which browsers
    reach this computer, such as `soil-pi.local`.
    """

    port: int = 0
    host: str = "127.0.0.1"
    token_file: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.port:
            check_port("port", self.port)
        check_address(self.host)
        if self.port and not is_loopback(self.host) and not self.token_file:
            raise ValueError(
                f"host = {self.host!r} opens the page to the network and needs a token_file; write "
                f"a secret into a file, such as {secrets.token_urlsafe(24)}, and name the file"
            )

    def token(self) -> str:
        """Return the secret; "" where none is needed.

        Raises:
            UsageError: the file cannot be read, is open to others, or holds no good secret.
        """
        if not self.token_file:
            return ""
        path = Path(self.token_file)
        try:
            mode = path.stat().st_mode
            with path.open("rb") as stream:
                content = stream.read(MOST_TOKEN_BYTES + 1).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"token_file {path} cannot be read ({error}); give a file with a secret in it"
            ) from error
        if mode & stat.S_IROTH:
            raise UsageError(f"token_file {path} can be read by everyone; chmod it to 600")
        # Printable, because it comes back in a header or a cookie.
        if not FEWEST_TOKEN_CHARACTERS <= len(content) <= MOST_TOKEN_BYTES or not all(
            letter.isalnum() or letter in "-_.~" for letter in content
        ):
            raise UsageError(
                f"token_file {path} holds no secret of {FEWEST_TOKEN_CHARACTERS} letters, digits, "
                "-, _, . or ~ and more; write one into it"
            )
        return content
