#include "control/api/message.h"

#include <string.h>

#include "proto/vertex.pb-c.h"
#include "support/test.h"

static struct arena arena;

static const char *written(const struct json_value *v) {
    static struct buffer out;
    struct json_writer w;
    buffer_clear(&out);
    json_writer_init(&w, &out, NULL);
    json_write(&w, v);
    CHECK_EQ(json_writer_finish(&w), STATUS_OK);
    CHECK_EQ(buffer_append(&out, "", 1, NULL), STATUS_OK);
    return out.p;
}

static struct error last_error;

static const char *read_as(const ProtobufCMessageDescriptor *d, const char *text,
                           api_version version) {
    struct json_value *in, *out;
    CHECK_EQ(json_parse(&in, &arena, str_from_c(text), NULL), STATUS_OK);
    if (message_read(&out, &arena, d, in, version, &last_error) != STATUS_OK)
        return last_error.text;
    return written(out);
}

#define ENDPOINT &culmen__vertex__endpoint__descriptor
#define DEPLOY   &culmen__vertex__deploy_model_request__descriptor
#define MODEL    &culmen__vertex__model__descriptor

TEST(message_reads_both_spellings_and_enums_as_numbers_or_names) {
    CHECK_STR(
        read_as(ENDPOINT, "{\"display_name\":\"e\",\"trafficSplit\":{\"7\":100,\"8\":0}}", API_V1),
        "{\"displayName\":\"e\",\"trafficSplit\":{\"7\":100,\"8\":0}}");
    const char *want = "{\"deployedModel\":{\"dedicatedResources\":{\"machineSpec\":{"
                       "\"acceleratorType\":\"NVIDIA_TESLA_A100\"}}}}";
    CHECK_STR(read_as(DEPLOY,
                      "{\"deployedModel\":{\"dedicatedResources\":{\"machineSpec\":{"
                      "\"acceleratorType\":8}}}}",
                      API_V1),
              want);
    CHECK_STR(read_as(DEPLOY,
                      "{\"deployed_model\":{\"dedicated_resources\":{\"machine_spec\":{"
                      "\"accelerator_type\":\"NVIDIA_TESLA_A100\"}}}}",
                      API_V1),
              want);
}

TEST(message_drops_zeros_and_nulls_and_keeps_int64_as_text) {
    CHECK_STR(read_as(MODEL,
                      "{\"displayName\":\"\",\"description\":null,\"containerSpec\":{"
                      "\"sharedMemorySizeMb\":64,\"ports\":[{\"containerPort\":8000}]},"
                      "\"metadata\":{\"any\":[1,null]},\"versionAliases\":[]}",
                      API_V1),
              "{\"metadata\":{\"any\":[1,null]},\"containerSpec\":{\"ports\":[{"
              "\"containerPort\":8000}],\"sharedMemorySizeMb\":\"64\"}}");
}

#define INVALID "Invalid JSON payload received: "

TEST(message_names_the_field_that_is_wrong) {
    CHECK_STR(read_as(ENDPOINT, "{\"displayNam\":1}", API_V1),
              INVALID "unknown field \"displayNam\", nearest is \"display_name\"");
    CHECK_STR(read_as(DEPLOY, "{\"deployedModel\":{\"x\":1}}", API_V1),
              INVALID "\"deployed_model\": unknown field \"x\"");
    CHECK_STR(read_as(DEPLOY, "{\"trafficSplit\":{\"0\":\"a\"}}", API_V1),
              INVALID "\"traffic_split[\"0\"]\": wanted int32, found \"a\"");
    CHECK_STR(
        read_as(ENDPOINT, "{\"clientConnectionConfig\":{\"inferenceTimeout\":\"5\"}}", API_V1),
        INVALID "\"client_connection_config.inference_timeout\": wanted a duration such as "
                "\"3.5s\", found 5");
    CHECK_STR(read_as(DEPLOY,
                      "{\"deployedModel\":{\"sharedResources\":\"p\",\"automaticResources\":{}}}",
                      API_V1),
              INVALID "\"deployed_model.automatic_resources\": it cannot be set together with "
                      "\"shared_resources\"");
}

TEST(message_takes_the_accelerator_name_that_google_does_not_have) {
    CHECK_STR(read_as(DEPLOY,
                      "{\"deployedModel\":{\"dedicatedResources\":{\"machineSpec\":{"
                      "\"acceleratorType\":\"NVIDIA_TESLA_L4\"}}}}",
                      API_V1),
              "{\"deployedModel\":{\"dedicatedResources\":{\"machineSpec\":{"
              "\"acceleratorType\":\"NVIDIA_L4\"}}}}");
}

TEST(message_knows_which_version_has_a_field) {
    const char *text = "{\"deployedModel\":{\"dedicatedResources\":{\"scaleToZeroSpec\":{"
                       "\"minScaleupPeriod\":\"300s\"}},\"model\":\"m\"}}";
    CHECK_STR(read_as(DEPLOY, text, API_V1),
              INVALID "unknown field \"deployedModel.dedicatedResources.scaleToZeroSpec\" in v1.");
    struct json_value *in, *out;
    CHECK_EQ(json_parse(&in, &arena, str_from_c(text), NULL), STATUS_OK);
    CHECK_EQ(message_read(&out, &arena, DEPLOY, in, API_V1BETA1, NULL), STATUS_OK);
    message_strip(out, DEPLOY, API_V1);
    CHECK_STR(written(out), "{\"deployedModel\":{\"model\":\"m\",\"dedicatedResources\":{}}}");
}

TEST(message_reads_field_masks) {
    struct field_mask mask;
    CHECK_EQ(field_mask_read(&mask, &arena, STR("traffic_split, a.b_c,displayName"), NULL),
             STATUS_OK);
    CHECK_EQ(mask.n, 3);
    CHECK(str_eq_c(mask.paths[0], "trafficSplit") && str_eq_c(mask.paths[1], "a.bC"));
    CHECK(str_eq_c(mask.paths[2], "displayName"));
}
