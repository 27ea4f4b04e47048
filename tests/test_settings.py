from pathlib import Path

import pytest

from rag_service.errors import InvalidSettings
from rag_service.settings import RELEASE_FIELDS, Settings, explicitly_set, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: rag.toml is read from there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert load_settings({}) == Settings()
    assert explicitly_set({}) == frozenset()


def test_environment_wins_over_file_and_file_over_default(folder: Path) -> None:
    (folder / "rag.toml").write_text("top_k = 7\nmin_confidence = 0.4\n")
    settings = load_settings({"RAG_TOP_K": "9"})
    assert (settings.top_k, settings.min_confidence, settings.max_tokens) == (9, 0.4, 256)
    assert explicitly_set({"RAG_TOP_K": "9"}) == {"top_k", "min_confidence"}


def test_what_is_given_wins_over_all_and_none_is_not_given(folder: Path) -> None:
    (folder / "rag.toml").write_text("top_k = 7\n")
    assert load_settings({"RAG_TOP_K": "9"}, top_k=11).top_k == 11
    assert load_settings({"RAG_TOP_K": "9"}, top_k=None).top_k == 9


def test_an_empty_variable_counts_as_unset(folder: Path) -> None:
    (folder / "rag.toml").write_text("top_k = 7\n")
    assert load_settings({"RAG_TOP_K": "", "RAG_CONFIG": ""}).top_k == 7


def test_variables_of_others_are_none_of_our_business() -> None:
    assert load_settings({"PATH": "/bin", "RAGTIME": "1", "rag_top_k": "3", "OPENAI_API_KEY": "x"}) == Settings()


def test_a_misspelt_variable_stops_with_the_name_that_was_meant() -> None:
    with pytest.raises(InvalidSettings, match="RAG_TOPK") as caught:
        load_settings({"RAG_TOPK": "5"})
    assert caught.value.hint == "did you mean RAG_TOP_K?"


def test_a_misspelt_variable_stops_even_when_it_is_empty() -> None:
    with pytest.raises(InvalidSettings, match="RAG_TOPK"):
        load_settings({"RAG_TOPK": ""})


def test_a_variable_like_none_of_ours_points_at_the_list() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings({"RAG_QQQQQQQQ": "5"})
    assert "config show" in caught.value.hint


def test_a_misspelt_key_of_the_file_stops_with_the_name_that_was_meant(folder: Path) -> None:
    (folder / "rag.toml").write_text("chunk_token = 100\n")
    with pytest.raises(InvalidSettings, match=r"chunk_token in rag\.toml") as caught:
        load_settings({})
    assert caught.value.hint == "did you mean chunk_tokens?"


def test_a_table_in_the_file_is_an_unknown_key(folder: Path) -> None:
    (folder / "rag.toml").write_text("[server]\nport = 1\n")
    with pytest.raises(InvalidSettings, match=r"server in rag\.toml"):
        load_settings({})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RAG_TOP_K", "five"),
        ("RAG_TOP_K", "0"),
        ("RAG_TOP_K", "51"),
        ("RAG_TOP_K", "2.5"),
        ("RAG_MIN_CONFIDENCE", "nan"),
        ("RAG_MIN_CONFIDENCE", "1.01"),
        ("RAG_TIMEOUT_S", "0"),
        ("RAG_TIMEOUT_S", "inf"),
        ("RAG_PORT", "65536"),
        ("RAG_EMBEDDER", "word2vec"),
        ("RAG_STORE", "FLAT"),
        ("RAG_LOG_LEVEL", "loud"),
        ("RAG_SEED", "-1"),
        ("RAG_SEED", str(2**63)),  # canonical JSON could not hold it, and llama.cpp takes 32 bits
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_variable(variable: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings({variable: value})
    assert caught.value.message.startswith(f"{variable} is {value!r}: ")
    assert caught.value.param == variable.removeprefix("RAG_").lower()
    assert caught.value.hint


def test_a_wrong_value_in_the_file_is_refused_by_key_and_file(folder: Path) -> None:
    (folder / "rag.toml").write_text('top_k = "many"\n')
    with pytest.raises(InvalidSettings, match=r"top_k in rag\.toml is 'many'"):
        load_settings({})


def test_a_wrong_value_that_was_given_is_refused_by_its_option() -> None:
    with pytest.raises(InvalidSettings, match="--chunk-tokens is 'many'"):
        load_settings({}, chunk_tokens="many")


def test_rag_config_names_the_file(folder: Path) -> None:
    (folder / "rag.toml").write_text("top_k = 7\n")
    (folder / "other.toml").write_text("top_k = 8\n")
    assert load_settings({"RAG_CONFIG": str(folder / "other.toml")}).top_k == 8


def test_a_rag_config_that_is_not_there_stops(folder: Path) -> None:
    with pytest.raises(InvalidSettings, match="RAG_CONFIG names") as caught:
        load_settings({"RAG_CONFIG": str(folder / "missing.toml")})
    assert "unset RAG_CONFIG" in caught.value.hint


@pytest.mark.parametrize("content", [b"top_k = ", b"top_k: 5\n", b"\xff\xfe", b"top_k = 5\ntop_k = 6\n"])
def test_a_file_that_is_not_toml_is_refused_by_name(folder: Path, content: bytes) -> None:
    (folder / "rag.toml").write_bytes(content)
    with pytest.raises(InvalidSettings, match=r"rag\.toml is not TOML"):
        load_settings({})


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_setting_can_come_from_the_environment() -> None:
    def as_text(value: object) -> str:
        return ",".join(value) if isinstance(value, tuple) else str(value)

    variables = {f"RAG_{name.upper()}": as_text(value) for name, value in Settings() if value is not None}
    assert load_settings(variables) == Settings()


def test_release_settings_are_settings() -> None:
    assert set(RELEASE_FIELDS) <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("attributes", "image"),
    [
        ("service.name=rag,container.image.repo_digests=reg/rag@sha256%3Aab", "reg/rag@sha256:ab"),
        ('container.image.repo_digests=["reg/rag@sha256:ab"]', "reg/rag@sha256:ab"),
        ("container.image.name=reg/rag", None),
        ("", None),
    ],
)
def test_the_image_may_be_declared_as_opentelemetry_resources_declare_it(attributes: str, image: str | None) -> None:
    assert load_settings({"OTEL_RESOURCE_ATTRIBUTES": attributes}).container_image == image


def test_the_image_of_the_setting_goes_before_that_of_the_resource() -> None:
    both = {"RAG_CONTAINER_IMAGE": "a@sha256:1", "OTEL_RESOURCE_ATTRIBUTES": "container.image.repo_digests=b@sha256:2"}
    assert load_settings(both).container_image == "a@sha256:1"


def test_none_leaves_a_setting_out_that_may_be_left_out_and_no_other() -> None:
    assert load_settings({"RAG_TEMPERATURE": "none"}).temperature is None
    with pytest.raises(InvalidSettings, match="RAG_TOP_K"):
        load_settings({"RAG_TOP_K": "none"})


def test_words_are_understood_in_any_case_and_none_in_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "rag.toml"
    file.write_text('temperature = "none"\nlog_level = "INFO"\n')
    loaded = load_settings({"RAG_CONFIG": str(file)})
    assert (loaded.temperature, loaded.log_level) == (None, "info")


@pytest.mark.parametrize(("value", "names"), [("", ()), (",", ()), ("a", ("a",)), (" a , b,", ("a", "b"))])
def test_names_are_listed_with_commas(value: str, names: tuple[str, ...]) -> None:
    assert load_settings({"RAG_ALLOWED_HOSTS": value}).allowed_hosts == names


def test_names_may_be_a_list_in_the_file(folder: Path) -> None:
    (folder / "rag.toml").write_text('cors_origins = ["https://a.example", "https://b.example"]\n')
    assert load_settings({}).cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:6333", "https://qdrant.internal", "https://gateway.internal/qdrant", "file:///var/lib/qdrant"]
)
def test_qdrant_is_behind_a_url_or_in_a_folder(url: str) -> None:
    assert load_settings({"RAG_QDRANT_URL": url}).qdrant_url == url


@pytest.mark.parametrize(
    "url", ["qdrant.internal:6333", "http://", "grpc://host:6334", "file://folder", "file:///", "http://host:6333?key=s3cret", "memory"]
)
def test_what_is_no_place_of_qdrant_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="RAG_QDRANT_URL"):
        load_settings({"RAG_QDRANT_URL": url})


def test_a_key_of_qdrant_stands_in_no_message_and_no_representation(folder: Path) -> None:
    settings = load_settings({"RAG_QDRANT_API_KEY": "s3cret"})
    assert settings.qdrant_api_key is not None
    assert settings.qdrant_api_key.get_secret_value() == "s3cret"
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump()}"
    with pytest.raises(InvalidSettings, match="RAG_QDRANT_API_KEY") as caught:
        load_settings({"RAG_QDRANT_API_KEY": "s3cret\nkey"})
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"
    (folder / "rag.toml").write_text("qdrant_api_key = 5550123\n")
    with pytest.raises(InvalidSettings, match="qdrant_api_key") as caught:
        load_settings({})
    assert "5550123" not in f"{caught.value.message} {caught.value.hint}"
    for url in ("https://s3cret@host:6333", "https://host:6333?key=s3cret", "https://host:6333/#s3cret", "s3cret@host"):
        with pytest.raises(InvalidSettings, match="RAG_QDRANT_URL") as caught:
            load_settings({"RAG_QDRANT_URL": url})
        assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"
