"""Google's own Python SDK against `culmen up`, over REST."""
import warnings

import pytest

warnings.filterwarnings("ignore")
aiplatform = pytest.importorskip("google.cloud.aiplatform")
from google.api_core import exceptions  # noqa: E402
from google.auth.credentials import AnonymousCredentials  # noqa: E402


@pytest.fixture
def sdk(up):
    aiplatform.init(project="p1", location="us-central1", api_endpoint=up.url, api_transport="rest",
                    credentials=AnonymousCredentials())
    return aiplatform


def upload(sdk, folder, **options):
    # The SDK copies any other artifact_uri to a bucket before it calls the API.
    return sdk.Model.upload(display_name="m", artifact_uri=f"gs://{folder}", serving_container_image_uri="culmen",
                            serving_container_predict_route="/predict", serving_container_health_route="/health",
                            **options)


def test_the_whole_way(up, sdk, tiny):
    endpoint = sdk.Endpoint.create(display_name="e", labels={"a": "b"})
    one, two = upload(sdk, tiny(2)), upload(sdk, tiny(3))
    one.deploy(endpoint=endpoint, machine_type="n1-standard-4", min_replica_count=2, max_replica_count=2,
               traffic_percentage=100)
    assert len(up.replicas()) == 2
    answer = endpoint.predict(instances=[[1, 2]], parameters={"a": 1})
    assert answer.predictions == [[2.0, 4.0]] and answer.model_resource_name == one.resource_name

    two.deploy(endpoint=endpoint, machine_type="n1-standard-4", accelerator_type="NVIDIA_TESLA_T4",
               accelerator_count=1, traffic_percentage=10)
    ids = {d.model: d.id for d in endpoint.list_models()}
    first, second = ids[one.resource_name], ids[two.resource_name]
    assert endpoint.traffic_split == {first: 90, second: 10}
    assert {d.id: d.dedicated_resources.machine_spec.accelerator_type.name for d in endpoint.list_models()}[second] \
        == "NVIDIA_TESLA_T4"

    endpoint.update(traffic_split={first: 40, second: 60}, display_name="renamed")
    assert endpoint.traffic_split == {first: 40, second: 60}
    assert [e.display_name for e in sdk.Endpoint.list(filter='display_name="renamed"')] == ["renamed"]
    assert sdk.Endpoint.list(filter='display_name="e"') == []

    with pytest.raises(exceptions.BadRequest):
        one.delete()
    endpoint.undeploy(deployed_model_id=second)
    assert endpoint.traffic_split == {first: 100}
    assert endpoint.predict(instances=[[3, 4]]).predictions == [[6.0, 8.0]]
    endpoint.delete(force=True)
    one.delete()
    two.delete()
    assert sdk.Endpoint.list() == [] and sdk.Model.list() == []
    assert up.replicas() == {}


def test_versions_and_aliases(sdk, tiny):
    one = upload(sdk, tiny(2), model_id="versioned")
    two = upload(sdk, tiny(3), parent_model=one.resource_name, is_default_version=False, version_aliases=["beta"])
    assert (one.version_id, two.version_id) == ("1", "2")
    registry = sdk.models.ModelRegistry(model=one)
    assert [v.version_id for v in registry.list_versions()] == ["1", "2"]
    assert registry.get_model(version="beta").version_id == "2"
    registry.add_version_aliases(new_aliases=["default"], version="2")
    assert sdk.Model("versioned").version_id == "2"

    endpoint = sdk.Endpoint.create(display_name="e")
    registry.get_model(version="1").deploy(endpoint=endpoint, machine_type="n1-standard-2")
    assert endpoint.predict(instances=[[1, 1]]).predictions == [[2.0, 2.0]]
    with pytest.raises(exceptions.BadRequest):
        registry.delete_version(version="1")
    endpoint.delete(force=True)
    registry.delete_version(version="1")


def test_what_cannot_be_done_is_an_exception_that_says_why(sdk, tiny, tmp_path):
    with pytest.raises(exceptions.NotFound):
        sdk.Endpoint("12345").predict(instances=[[1, 2]])
    other = sdk.Model.upload(display_name="other", serving_container_image_uri="gcr.io/p/image:1")
    endpoint = sdk.Endpoint.create(display_name="e")
    with pytest.raises(exceptions.BadRequest, match='image "culmen"'):
        other.deploy(endpoint=endpoint, machine_type="n1-standard-2")
    with pytest.raises(exceptions.BadRequest, match="n1-quite-4"):
        upload(sdk, tiny(2)).deploy(endpoint=endpoint, machine_type="n1-quite-4")
    with pytest.raises(exceptions.BadRequest, match="model.onnx"):
        upload(sdk, tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(exceptions.BadRequest, match="Model server exited unexpectedly"):
        upload(sdk, tmp_path).deploy(endpoint=endpoint, machine_type="n1-standard-2")
    assert endpoint.list_models() == []


def test_generated_clients(up, sdk, tiny):
    """The clients below the SDK: they wrap raw bodies in httpBody, and name masks and pages in queries."""
    from google.api.httpbody_pb2 import HttpBody
    from google.cloud import aiplatform_v1 as v1
    from google.cloud import aiplatform_v1beta1 as v1beta1
    from google.protobuf.field_mask_pb2 import FieldMask

    how = {"client_options": {"api_endpoint": up.url}, "transport": "rest", "credentials": AnonymousCredentials()}
    endpoint = sdk.Endpoint.create(display_name="e", endpoint_id="e1")
    sdk.Endpoint.create(display_name="e")
    upload(sdk, tiny(2)).deploy(endpoint=endpoint, machine_type="n1-standard-2")
    predictions = v1.PredictionServiceClient(**how)
    body = HttpBody(content_type="application/json", data=b'{"instances": [[1, 2]]}')
    answer = predictions.raw_predict(endpoint=endpoint.resource_name, http_body=body)
    assert (answer.content_type, answer.data) == ("application/json", b'{"predictions":[[2.0,4.0]]}')
    pieces = list(predictions.stream_raw_predict(endpoint=endpoint.resource_name, http_body=body))
    assert b"".join(p.data for p in pieces) == answer.data
    with pytest.raises(exceptions.BadRequest, match="instances"):
        predictions.raw_predict(endpoint=endpoint.resource_name, http_body=HttpBody(data=b"{}"))

    endpoints = v1.EndpointServiceClient(**how)
    parent = endpoint.resource_name.rpartition("/endpoints/")[0]
    request = {"parent": parent, "page_size": 1, "order_by": "create_time desc", "filter": 'display_name="e"',
               "read_mask": FieldMask(paths=["name", "display_name"])}
    listed = list(endpoints.list_endpoints(request=request))
    assert len(listed) == 2 and listed[1].name == endpoint.resource_name
    assert listed[1].display_name == "e" and not listed[1].deployed_models and not listed[1].create_time
    deployed = {"id": endpoint.list_models()[0].id, "dedicated_resources": {"min_replica_count": 2,
                                                                            "max_replica_count": 2}}
    paths = ["dedicated_resources.min_replica_count", "dedicated_resources.max_replica_count"]
    done = endpoints.mutate_deployed_model(endpoint=endpoint.resource_name, deployed_model=deployed,
                                           update_mask=FieldMask(paths=paths)).result()
    assert done.deployed_model.dedicated_resources.min_replica_count == 2
    seen = v1beta1.EndpointServiceClient(**how).get_endpoint(name=endpoint.resource_name)
    assert seen.deployed_models[0].dedicated_resources.min_replica_count == 2
