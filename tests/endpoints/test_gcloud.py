"""Google's own command line against `culmen up`, where it is installed."""
import json
import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not installed here")


@pytest.fixture
def gcloud(up, tmp_path):
    env = {**os.environ, "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{up.url}/",
           "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "1", "CLOUDSDK_CORE_PROJECT": "p1",
           "CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
           "CLOUDSDK_CONFIG": str(tmp_path / "gcloud")}

    def run(*args):
        done = subprocess.run(["gcloud", "ai", *args, "--region=us-central1"], env=env, capture_output=True, text=True,
                              timeout=120)
        assert done.returncode == 0, f"gcloud ai {args}: {done.stderr}"
        return done.stdout.strip()

    return run


def test_the_whole_way(gcloud, tiny, tmp_path):
    gcloud("models", "upload", "--display-name=m", "--container-image-uri=culmen", f"--artifact-uri={tiny(2)}",
           "--container-health-route=/v2/health/ready", "--container-predict-route=/predict", "--container-ports=8000")
    model = gcloud("models", "list", "--format=value(name)").rpartition("/")[2]
    gcloud("endpoints", "create", "--display-name=e")
    endpoint = gcloud("endpoints", "list", "--format=value(name)").rpartition("/")[2]
    gcloud("endpoints", "deploy-model", endpoint, f"--model={model}", "--display-name=v1",
           "--machine-type=n1-standard-8", "--accelerator=type=nvidia-tesla-a100,count=1", "--min-replica-count=1",
           "--max-replica-count=2", "--traffic-split=0=100")
    shown = json.loads(gcloud("endpoints", "describe", endpoint, "--format=json"))
    deployed = shown["deployedModels"][0]
    assert deployed["dedicatedResources"]["machineSpec"]["acceleratorType"] == "NVIDIA_TESLA_A100"

    request = tmp_path / "request.json"
    request.write_text('{"instances": [[1, 2], [3, 4]]}')
    assert json.loads(gcloud("endpoints", "predict", endpoint, f"--json-request={request}")) == [[2, 4], [6, 8]]
    raw = gcloud("endpoints", "raw-predict", endpoint, f"--request=@{request}")
    assert json.loads(raw)["predictions"] == [[2, 4], [6, 8]]
    gcloud("endpoints", "update", endpoint, f"--traffic-split={deployed['id']}=100")
    gcloud("endpoints", "undeploy-model", endpoint, f"--deployed-model-id={deployed['id']}")
    gcloud("endpoints", "delete", endpoint)
    gcloud("models", "delete", model)
    assert gcloud("models", "list", "--format=value(name)") == ""
