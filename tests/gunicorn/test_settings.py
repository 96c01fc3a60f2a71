"""A worker keeps the settings of gunicorn as attributes."""

from types import ModuleType

from gunicorn.config import Config  # type: ignore[import-untyped]

from flask_convex_http import gunicorn
from flask_convex_http.gunicorn.kept_settings import keep_settings


def test_settings_have_the_same_values_afterwards() -> None:
    """Each setting, also one that gunicorn computes from others, has the same value as an attribute."""
    plain, kept = Config(), Config()
    for config in (plain, kept):
        config.set("bind", ["127.0.0.1:8001"])
        config.set("certfile", "cert.pem")
        config.set("forwarded_allow_ips", "10.0.0.1,10.1.0.0/16")
        config.set("raw_env", ["NAME=value"])
    keep_settings(kept)
    names = [*plain.settings, "is_ssl", "ssl_options", "address", "env"]
    assert {name: str(getattr(kept, name)) for name in names} == {name: str(getattr(plain, name)) for name in names}
    assert kept.forwarded_allow_networks() == plain.forwarded_allow_networks()


def test_hooks_are_called_with_their_own_arguments() -> None:
    """A hook of the settings stays a function and does not become a method of the settings."""
    config, seen = Config(), []

    def note(worker: object, request: object) -> None:
        seen.append((worker, request))

    config.set("pre_request", note)
    keep_settings(config)
    config.pre_request("worker", "request")
    assert seen == [("worker", "request")]


def test_no_module_of_the_worker_replaces_a_setting() -> None:
    """A module with the name of a setting would be the setting's value when gunicorn reads the settings again."""
    found = {name: value for name, value in vars(gunicorn).items() if name in Config().settings}
    assert found["threads"] == 32
    assert not [name for name, value in found.items() if isinstance(value, ModuleType)]
