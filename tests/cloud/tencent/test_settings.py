"""Settings come from the environment, are checked at once, and never show a secret."""

import pytest

from controller.cloud.tencent.settings import Endpoint, Settings, SettingsError

KEYS = {"TENCENTCLOUD_SECRET_ID": "AKIDexample", "TENCENTCLOUD_SECRET_KEY": "very-secret"}


def test_defaults_are_the_public_endpoints_over_https() -> None:
    settings = Settings.from_environment(KEYS)
    assert settings.endpoint_of("hai").url == "https://hai.tencentcloudapi.com"
    assert settings.endpoint_of("monitor").url == "https://monitor.tencentcloudapi.com"
    assert settings.sts.url == "https://sts.tencentcloudapi.com"
    assert settings.timeout_s < 15


def test_everything_can_be_set() -> None:
    settings = Settings.from_environment({
        **KEYS,
        "TENCENTCLOUD_TOKEN": "temporary",
        "HAIPOOL_CLOUD_ENDPOINT": "http://127.0.0.1:1234",
        "HAIPOOL_CLOUD_HOME_REGION": "ap-shanghai",
        "HAIPOOL_CLOUD_TIMEOUT_SECONDS": "3.5",
        "HAIPOOL_CLOUD_THREADS": "4",
        "HAIPOOL_STS_ENDPOINT": "http://127.0.0.1:9",
    })  # fmt: skip
    assert settings.endpoint_of("hai") == Endpoint("http", "127.0.0.1:1234")
    assert settings.sts == Endpoint("http", "127.0.0.1:9")
    assert (settings.token, settings.home_region) == ("temporary", "ap-shanghai")
    assert (settings.timeout_s, settings.threads) == (3.5, 4)


def test_a_root_domain_moves_every_service() -> None:
    settings = Settings.from_environment({**KEYS, "HAIPOOL_CLOUD_ROOT_DOMAIN": "internal.tencentcloudapi.com"})
    assert settings.endpoint_of("hai").netloc == "hai.internal.tencentcloudapi.com"
    assert settings.sts.netloc == "sts.internal.tencentcloudapi.com"


@pytest.mark.parametrize("source", ["tke-oidc", "cvm-role"])
def test_roles_need_no_key(source: str) -> None:
    settings = Settings.from_environment({"HAIPOOL_CREDENTIALS": source, "HAIPOOL_CVM_ROLE_NAME": "gpu"})
    assert (settings.credentials, settings.role_name) == (source, "gpu")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"TENCENTCLOUD_SECRET_ID": ""}, "TENCENTCLOUD_SECRET_ID is not set"),
        ({"TENCENTCLOUD_SECRET_KEY": ""}, "TENCENTCLOUD_SECRET_KEY is not set"),
        ({"TENCENTCLOUD_SECRET_KEY": "hidden\n"}, "TENCENTCLOUD_SECRET_KEY contains"),
        ({"TENCENTCLOUD_TOKEN": "hidden hidden"}, "TENCENTCLOUD_TOKEN contains"),
        ({"HAIPOOL_CREDENTIALS": "magic"}, "HAIPOOL_CREDENTIALS must be one of environment, tke-oidc, cvm-role"),
        ({"HAIPOOL_CLOUD_ENDPOINT": "127.0.0.1:80"}, "HAIPOOL_CLOUD_ENDPOINT must be"),
        ({"HAIPOOL_CLOUD_ENDPOINT": "https://host/path"}, "HAIPOOL_CLOUD_ENDPOINT must be"),
        ({"HAIPOOL_CLOUD_ENDPOINT": "https://me:hidden@host"}, "HAIPOOL_CLOUD_ENDPOINT must be"),
        ({"HAIPOOL_CLOUD_ENDPOINT": "http://host:notaport"}, "HAIPOOL_CLOUD_ENDPOINT must be"),
        ({"HAIPOOL_CLOUD_TIMEOUT_SECONDS": "60"}, "HAIPOOL_CLOUD_TIMEOUT_SECONDS must be above 0 and below 15"),
        ({"HAIPOOL_CLOUD_TIMEOUT_SECONDS": "soon"}, "HAIPOOL_CLOUD_TIMEOUT_SECONDS must be a number"),
        ({"HAIPOOL_CLOUD_THREADS": "0"}, "HAIPOOL_CLOUD_THREADS must be at least 1"),
    ],
)
def test_a_wrong_setting_names_its_variable_and_no_secret(changes: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        Settings.from_environment({**KEYS, **changes})
    assert "hidden" not in str(caught.value)


def test_secrets_do_not_show() -> None:
    text = repr(Settings(secret_id="AKIDexample", secret_key="very-secret", token="temporary"))
    assert "very-secret" not in text
    assert "temporary" not in text
    assert "AKIDexample" not in text


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.77.0.9:1", "http://localhost:1", "http://[::1]:1"])
def test_loopback_is_never_reached_through_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:3128")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    assert Endpoint.parse(url, name="url").proxies() == {}


def test_proxies_of_the_environment_are_used_and_no_proxy_matches_hosts_with_ports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    endpoint = Endpoint.parse("https://gateway.example:8443", name="url")
    assert endpoint.proxies()["https"] == "http://proxy.example:3128"
    monkeypatch.setenv("no_proxy", "gateway.example")
    assert endpoint.proxies() == {}
