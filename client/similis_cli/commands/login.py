"""`login` and `logout`."""

from __future__ import annotations

import sys

import typer

from similis_cli.config import DEFAULT_URL, Logins, login_file, normalised, read_key, read_logins, write_logins
from similis_cli.options import KeyFile, Url
from similis_cli.output import say
from similis_cli.problems import CommandError, Status, fail, prompting


def login(url: Url = None, key_file: KeyFile = None) -> None:
    """Check an API key and store it for this user."""
    asks = sys.stdin.isatty()
    if url is None and key_file is None and asks:
        with prompting():
            url = typer.prompt(
                "Address of the service", default=read_logins().url or DEFAULT_URL, err=True, value_proc=_address
            )
    address = normalised(url or read_logins().url or DEFAULT_URL)
    if key_file is not None:
        key = read_key(key_file)
    elif asks:
        with prompting():
            key = typer.prompt("API key (not shown)", hide_input=True, err=True)
    else:
        key = sys.stdin.readline()
    key = key.strip()
    if not key:
        fail("No key was given. Use --key-file, or pass the key on standard input.", Status.USAGE)
    from similis_client import SimilisSync

    with SimilisSync(address, key) as similis:
        verified = similis.verify()
    logins = read_logins()
    write_logins(Logins(address, {**logins.keys, address: key}))
    scope = f" It allows: {verified.scope}." if verified.scope else ""
    expiry = f" It expires on {verified.expires_at:%Y-%m-%d}." if verified.expires_at else ""
    say(f"The key for {address} is valid and stored in {login_file()}.{scope}{expiry}")


def _address(text: str) -> str:
    """Return an address that was typed. One that is not valid is asked for again."""
    try:
        return normalised(text.strip())
    except CommandError as error:
        raise typer.BadParameter(str(error)) from None


def logout(url: Url = None) -> None:
    """Forget the stored key of a service."""
    logins = read_logins()
    address = normalised(url or logins.url or DEFAULT_URL)
    if address not in logins.keys:
        fail(f"No key is stored for {address}.")
    keys = {stored: key for stored, key in logins.keys.items() if stored != address}
    write_logins(Logins(None if logins.url == address else logins.url, keys))
    say(f"The key for {address} is forgotten. It stays valid: an operator deletes it with 'similis keys delete'.")
