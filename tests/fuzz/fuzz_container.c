/* fuzz_container.c: the front of a file: shell, index, plan. Input: 8 bytes of wishes, then the front; its checksum is made right.
 * What is promised: a header that is refused says how many bytes it wants; an index that is accepted adds up; a plan keeps its
 * budget, and the budget it asks for is enough. */
#include "format/checksum.h"
#include "format/container.h"
#include "fuzz.h"
#include "tansy.h"

static void seal(uint8_t *file, size_t header_nbytes) {
  uint64_t json_nbytes;
  memcpy(&json_nbytes, file, 8);
  uint8_t *index = file + 8 + json_nbytes, *end = file + header_nbytes - 4;
  uint32_t crc = tansy_crc32_small(index, (size_t)(end - index));
  for (int i = 0; i < 4; i++) end[i] = (uint8_t)(crc >> 8 * i);
}

static void walk(const struct tansy_index *index) {
  struct tansy_index_walk config = tansy_index_config_walk(index), attachments = tansy_index_attachment_walk(index);
  struct tansy_index_walk tensors = tansy_index_tensor_walk(index);
  uint64_t last_key = 0, end = 0;
  for (uint32_t i = 0; i < index->n_config; i++) {
    uint64_t key;
    uint32_t value;
    tansy_index_next_config(&config, &key, &value);
    PROMISE(key > last_key);
    last_key = key;
  }
  for (uint32_t i = 0; i < index->n_attachments; i++) {
    struct tansy_record_attachment a;
    tansy_index_next_attachment(&attachments, &a);
    PROMISE(a.offset == end && a.name >= index->header && a.name + a.name_nbytes <= index->chunk_crcs);
    end += a.nbytes;
  }
  for (uint32_t i = 0; i < index->n_tensors; i++) {
    struct tansy_record r;
    tansy_index_next_tensor(&tensors, &r);
    PROMISE(r.offset == end);
    if (r.kind == TANSY_KIND_CODED) PROMISE((uint64_t)tansy_record_prefix_nbytes(&r) + r.shape.head_nbytes + tansy_record_tiles_nbytes(&r) == r.nbytes);
    end += r.nbytes;
  }
  PROMISE(!config.c.failed && !attachments.c.failed && !tensors.c.failed);
  PROMISE(end == index->payload_nbytes);
  end = 0;
  for (uint32_t i = 0; i < index->n_chunks; i++) end += tansy_index_chunk_nbytes(index, i);
  PROMISE(end == index->payload_nbytes);
}

static void plan(const uint8_t *header, size_t header_nbytes, struct tansy_options options) {
  size_t work_nbytes = tansy_plan_work_nbytes(header, header_nbytes);
  void *work = fuzz_alloc(work_nbytes);
  struct tansy_plan plan;
  enum tansy_status status = tansy_plan_make(header, header_nbytes, &options, work, work_nbytes, &plan);
  PROMISE(plan.detail.status == (uint32_t)status);
  if (status == TANSY_ERR_OVER_BUDGET && plan.needed_nbytes < 4e9) {
    PROMISE(plan.needed_nbytes > options.budget_nbytes);
    options.budget_nbytes = plan.needed_nbytes;
    status = tansy_plan_make(header, header_nbytes, &options, work, work_nbytes, &plan);
    PROMISE(status == TANSY_OK);
  }
  if (status == TANSY_OK) {
    PROMISE(options.budget_nbytes == 0 || plan.total_nbytes <= options.budget_nbytes);
    PROMISE(plan.needed_nbytes <= plan.total_nbytes && plan.arena_nbytes + plan.static_nbytes <= plan.total_nbytes);
    PROMISE(plan.n_chunks == 0 || plan.n_staging > 0);
  }
  free(work);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  struct fuzz_input in = {data, nbytes};
  uint32_t forms = fuzz_u8(&in);
  struct tansy_options options = {.residency = forms & 3, .kv_form = forms >> 2 & 1, .n_threads = forms >> 3 & 3, .kernels = forms >> 5 & 3};
  options.context = fuzz_u8(&in) * 4;
  options.max_batch = fuzz_u8(&in);
  options.n_staging = fuzz_u8(&in) % 8;
  options.n_logits = fuzz_u8(&in) % 4;
  options.budget_nbytes = fuzz_u8(&in) * (double)(96 << 10);
  options.target_ns_per_token = (float)fuzz_u8(&in) * 1000;
  options.static_nbytes = fuzz_u8(&in) << 8;

  uint64_t needed = 0;
  enum tansy_status status = tansy_header_size(in.at, in.left, &needed);
  if (status == TANSY_ERR_TRUNCATED) PROMISE(needed > in.left);
  if (status != TANSY_OK) return 0;
  PROMISE(needed <= in.left);
  uint8_t *header = fuzz_copy(in.at, (size_t)needed);
  seal(header, (size_t)needed);
  uint64_t again;
  PROMISE(tansy_header_size(header, (size_t)needed, &again) == TANSY_OK && again == needed);
  struct tansy_index index;
  uint32_t failed_tensor;
  if (tansy_index_open(header, (size_t)needed, &index, &failed_tensor) == TANSY_OK) {
    walk(&index);
    plan(header, (size_t)needed, options);
  }
  free(header);
  return 0;
}
