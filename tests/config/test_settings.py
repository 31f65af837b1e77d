"""Settings: a missing or wrong one stops the start with one line that names the variable."""

import pytest

from service.config import settings
from service.errors import StartError
from tests.fixtures.metadata import KEY

GOOD = {"ROSETTA_CONFIG_DSN": "postgresql://user:pw-of-config@db/rosetta_config", "CREDENTIAL_ENCRYPTION_KEY": KEY}

WRONG = {
    "ROSETTA_CONFIG_DSN": ["postgresql://user:pw-of-config@[::1/db", "nonsense pw-of-config"],
    "ROSETTA_LISTENER_DSN": ["http://pw-of-config"],
    "ROSETTA_REDIS_URL": ["http://:pw-of-config@host", "localhost:6379", ""],
    "CREDENTIAL_ENCRYPTION_KEY": ["short", "x" * 33, "AAAA"],
    "ROSETTA_PORT": ["-1", "65536", "http", ""],
    "ROSETTA_WORKERS": ["0", "257", "many", "1.5"],
    "ROSETTA_LOG_FORMAT": ["xml"],
    "ROSETTA_LOG_LEVEL": ["loud"],
    "ROSETTA_CACHE_TTL_S": ["0", "-5", "30s", "1.5"],
    "ROSETTA_MEMORY_CACHE_MB": ["-1", "lots"],
    "ROSETTA_PUBLICATION_BUDGET_MS": ["0", "nan"],
    "ROSETTA_POOL_MAX_SIZE": ["0"],
    "ROSETTA_POOL_MIN_SIZE": ["50"],
    "ROSETTA_REFRESH_SHARE": ["0", "1.5", "nan"],
    "ROSETTA_CANARY_INTERVAL_S": ["0", "inf"],
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the required variables, and no others of the service."""
    for field in settings.Settings.model_fields:
        monkeypatch.delenv(settings.variable(field), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_value_is_named_in_one_line(environment: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """The value itself, which may contain a secret, is not repeated."""
    environment.setenv(variable, value)
    with pytest.raises(StartError) as caught:
        settings.load()
    message = str(caught.value)
    assert message.startswith(f"{variable}")
    assert len(message.splitlines()) == 1
    assert "pw-of-config" not in message


@pytest.mark.parametrize("variable", list(GOOD))
def test_missing_value_is_named(environment: pytest.MonkeyPatch, variable: str) -> None:
    """There is no default for it."""
    environment.delenv(variable)
    with pytest.raises(StartError, match=f"^{variable}: is not set$"):
        settings.load()


def test_good_values_are_read_and_kept_secret(environment: pytest.MonkeyPatch) -> None:
    """Several hosts, keyword form, a rediss URL; no representation shows a password."""
    environment.setenv("ROSETTA_CONFIG_DSN", "postgresql://user:pw-of-config@one:5432,two:5433/rosetta_config")
    environment.setenv("ROSETTA_LISTENER_DSN", "host=one,two dbname=rosetta_config user=u password=pw-of-listener")
    environment.setenv("ROSETTA_REDIS_URL", "rediss://:pw-of-redis@cache:6380/1")
    chosen = settings.load()
    assert set(chosen.secrets) == {KEY, "pw-of-config", "pw-of-listener", "pw-of-redis"}
    for text in (repr(chosen), str(chosen), chosen.model_dump_json()):
        for secret in chosen.secrets:
            assert secret not in text


def test_secrets_are_known_as_they_are_written_too(environment: pytest.MonkeyPatch) -> None:
    """A library quotes what it was given: percent-encoded, or a webhook's URL at another address."""
    environment.setenv("ROSETTA_CONFIG_DSN", "postgresql://user:p%40[w@one/rosetta_config")
    environment.setenv(
        "ROSETTA_LISTENER_DSN", "postgresql://one/rosetta_config?user=u&password=l%26w&connect_timeout=1"
    )
    environment.setenv("ROSETTA_WEBHOOK_HOSTS", "hooks.example.com")
    environment.setenv("ROSETTA_WEBHOOKS", '[{"name": "ops", "url": "https://hooks.example.com/a/b?key=1&token=2"}]')
    secrets = settings.load().secrets
    assert {"p%40[w", "p@[w", "l%26w", "l&w", "/a/b", "key=1&token=2"} <= set(secrets)


def test_every_setting_is_described_with_its_default() -> None:
    """The list that `rosetta settings` prints, and docs/configuration.md."""
    described = {setting.variable: setting for setting in settings.describe()}
    assert len(described) == len(settings.Settings.model_fields)
    assert described["ROSETTA_CACHE_TTL_S"].default == "30"
    assert described["ROSETTA_CONFIG_DSN"].default == "required"
    secret = {setting.variable for setting in described.values() if setting.is_secret}
    assert secret == {
        "ROSETTA_CONFIG_DSN", "ROSETTA_LISTENER_DSN", "ROSETTA_REDIS_URL", "CREDENTIAL_ENCRYPTION_KEY",
        "ROSETTA_WEBHOOKS",
        "ROSETTA_ACCESS_TOKENS",
    }  # fmt: skip


def test_key_is_needed_only_by_who_reads_passwords(environment: pytest.MonkeyPatch) -> None:
    """And an option takes precedence over the environment."""
    environment.delenv("CREDENTIAL_ENCRYPTION_KEY")
    with pytest.raises(StartError, match=r"^CREDENTIAL_ENCRYPTION_KEY: is not set$"):
        settings.load()
    assert settings.load(needs_key=False, chosen={"port": 9999}).port == 9999
    with pytest.raises(StartError, match=r"^ROSETTA_PORT: "):
        settings.load(needs_key=False, chosen={"port": -1})
