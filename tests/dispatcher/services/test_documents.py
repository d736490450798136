"""The pages of the services keep their word: their pools are valid, their tables are what the routes do."""

import ast
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from controller.api.catalog import BUNDLES
from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import read, write
from controller.api.queue import Queue
from controller.dispatcher.routes import RouteTable
from controller.dispatcher.routesets import ROUTE_SETS, keeps_networks_together

FOLDER = Path(__file__).parents[3] / "docs" / "services"
SETS = {
    "stable-diffusion-webui": "StableDiffusionWebUI",
    "comfyui": "ComfyUI",
    "openai-compatible": "OpenAI",
    "ollama": "Ollama",
}
PAGES = sorted(FOLDER.glob("*.md"))
ROW = re.compile(r"^\| `([A-Z]+) (/\S*)` \| (queues|passes|排队|直通) \|", re.MULTILINE)


def queue(**fields: str) -> Queue:
    return msgspec.convert(fields, Queue)


def set_of(page: Path) -> str:
    return SETS[page.name.partition(".")[0]]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def kept(wanted: Any, got: Any, path: str = "spec") -> None:
    """Every field of the example is one of the kind, and has the value that it was given."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert key in got, f"{path}.{key} is no field"
            kept(value, got[key], f"{path}.{key}")
    elif isinstance(wanted, list):
        for number, (value, other) in enumerate(zip(wanted, got, strict=True)):
            kept(value, other, f"{path}[{number}]")
    else:
        assert wanted == got, path


def test_every_set_has_its_page_in_both_languages() -> None:
    assert set(SETS.values()) == ROUTE_SETS.keys() - {"None"}
    assert {page.name for page in PAGES} == {f"{name}{suffix}" for name in SETS for suffix in (".md", ".zh-CN.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_pools_are_valid_and_name_its_set(page: Path) -> None:
    examples = [yaml.safe_load(text) for text in blocks(page, "yaml")]
    pools = [example for example in examples if "kind" in example]
    assert len(pools) == 1
    for example in examples:
        spec = example["spec"] if "kind" in example else example
        pool = read(GpuPool, {"metadata": {"name": "p"}, "spec": spec})
        kept(spec, write(pool)["spec"])
        assert pool.spec.queue.route_set == set_of(page)
        assert all(entry.bundle in BUNDLES for entry in pool.spec.gpu_types)


@pytest.mark.parametrize("page", [page for page in PAGES if ".zh-CN" not in page.name], ids=lambda page: page.name)
def test_its_pool_is_one_that_the_api_takes(cluster: Any, namespace: str, page: Path) -> None:
    (pool,) = [example for text in blocks(page, "yaml") if "kind" in (example := yaml.safe_load(text))]
    path = f"/apis/{pool['apiVersion']}/namespaces/{namespace}/gpupools?fieldValidation=Strict"
    status, said = cluster.request("POST", path, pool)
    assert status == 201, said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_table_is_what_the_routes_do(page: Path) -> None:
    table = RouteTable.of(queue(routeSet=set_of(page)))
    rows = ROW.findall(page.read_text(encoding="utf-8"))
    assert len(rows) >= 9
    for method, path, verb in rows:
        kind = "Task" if verb in ("queues", "排队") else "PassThrough"
        assert table.classify(method, path).kind == kind, f"{method} {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_scripts_are_python(page: Path) -> None:
    scripts = blocks(page, "python")
    assert len(scripts) == 1
    ast.parse(scripts[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_it_names_exists(page: Path) -> None:
    spec = write(GpuPoolSpec())
    optional = {"userHeader", "routes", "weights"}
    for part, name in re.findall(r"`(queue|server)\.(\w+)", page.read_text(encoding="utf-8")):
        assert name in spec[part] or name in optional, f"{part}.{name}"


@pytest.mark.parametrize("name", ROUTE_SETS)
def test_names_of_a_set_are_few_enough_for_metrics_and_its_tasks_come_with_all_they_need(name: str) -> None:
    routes = ROUTE_SETS[name]
    assert len({route.name for route in routes}) <= 16
    assert all(route.poll for route in routes if route.completion == "Poll")
    assert all(route.kind == "PassThrough" for route in routes if route.forward_to != "Network")


def test_comfyui_keeps_networks_together_and_the_others_as_the_pool_says() -> None:
    assert keeps_networks_together(queue(routeSet="ComfyUI"))
    for name in ("StableDiffusionWebUI", "OpenAI", "Ollama", "None"):
        assert not keeps_networks_together(queue(routeSet=name))
        assert keeps_networks_together(queue(routeSet=name, affinity="Network"))
