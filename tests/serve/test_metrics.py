"""The metrics port holds to Prometheus' text format and to Triton's names."""
import re

TRITON = """nv_inference_request_success nv_inference_request_failure nv_inference_count nv_inference_exec_count
nv_inference_request_duration_us nv_inference_queue_duration_us nv_inference_compute_input_duration_us
nv_inference_compute_infer_duration_us nv_inference_compute_output_duration_us
nv_inference_pending_request_count nv_model_load_duration_secs nv_cpu_utilization nv_cpu_memory_total_bytes nv_cpu_memory_used_bytes""".split()
SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(\{(?:\w+="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$')


def scrape(serve):
    status, headers, body = serve.call("/metrics", service="metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; charset=utf-8"
    samples, types = {}, {}
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types, f"{name} has two types"
            types[name] = kind
        elif not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in types or types.get(family) == "histogram", f"{name} comes before its type"
            assert (name, labels) not in samples, f"{name}{labels} comes twice"
            samples[name, labels or ""] = float(value)
    return samples, types


def test_families_have_tritons_names_and_types(serve):
    _, types = scrape(serve)
    assert all(name in types for name in TRITON)
    assert types["nv_inference_request_duration_us"] == "counter"
    assert types["nv_inference_request_duration_histogram_us"] == "histogram"
    assert types["nv_inference_batch_size"] == "histogram"


def test_counters_and_histograms_count_a_request(serve):
    labels = '{model="identity_fp32",version="1"}'
    before, _ = scrape(serve)
    body = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[2],"data":[1,2]}]}'
    assert serve.call("/v2/models/identity_fp32/infer", body)[0] == 200
    after, _ = scrape(serve)
    for name in ("nv_inference_request_success", "nv_inference_count", "nv_inference_exec_count",
                 "nv_inference_request_duration_histogram_us_count", "nv_inference_batch_size_count"):
        assert after[name, labels] == before[name, labels] + 1, name
    assert after["nv_inference_request_duration_us", labels] >= before["nv_inference_request_duration_us", labels]


def test_buckets_are_cumulative_and_end_in_the_count(serve):
    samples, types = scrape(serve)
    for family in (name for name, kind in types.items() if kind == "histogram"):
        rows = {}
        for (name, labels), value in samples.items():
            if name == family + "_bucket":
                rows.setdefault(re.sub(r',?le="[^"]*"', "", labels), []).append(value)
        assert rows
        for labels, values in rows.items():
            assert values == sorted(values) and values[-1] == samples[family + "_count", labels]


def test_metric_tags_become_labels_and_other_paths_are_empty(serve):
    samples, _ = scrape(serve)
    assert ("nv_inference_count", '{_team="vision",model="add_sub",version="1"}') in samples
    assert serve.call("/other", service="metrics")[::2] == (200, b"")
    assert serve.call("/metrics", b"", service="metrics")[0] == 405
