// The part of manta that generated code calls, synchronous and in one thread: a submit runs the body
// before it returns. Enough of the contract for macros_test.cc, nothing more.
#include "fake_runtime.h"

#include <manta/object.h>
#include <manta/runtime.h>
#include <manta/task.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

fake_last_t fake_last;

struct manta_error {
    manta_status_t code;
    std::string text;
};

namespace
{

struct object_t {
    bool held = false;
    manta_status_t status = MANTA_OK;
    std::string text;
    manta_dtype_t dtype = 0;
    std::vector<unsigned char> bytes;
};

// Ids are indices plus one and never used again.
std::deque<object_t> objects;
std::vector<uint64_t> handed_out; // in scope order

object_t *find(manta_ref_t ref)
{
    if (ref.id == 0 || ref.id > objects.size() || !objects[ref.id - 1].held) return nullptr;
    return &objects[ref.id - 1];
}

manta_ref_t make(manta_dtype_t dtype, const void *data, size_t size_bytes)
{
    objects.emplace_back();
    object_t &o = objects.back();
    o.held = true;
    o.dtype = dtype;
    if (size_bytes > 0) {
        const unsigned char *from = static_cast<const unsigned char *>(data);
        o.bytes.assign(from, from + size_bytes);
    }
    handed_out.push_back(objects.size());
    return {objects.size()};
}

manta_ref_t make_failed(manta_status_t status, const std::string &text)
{
    manta_ref_t ref = make(0, nullptr, 0);
    find(ref)->status = status;
    find(ref)->text = text;
    return ref;
}

void drop(manta_ref_t ref)
{
    object_t *o = find(ref);
    if (o == nullptr) return;
    o->held = false;
    for (uint64_t &id : handed_out)
        if (id == ref.id) id = 0;
}

bool fits(const object_t &o, const manta_param_t &p)
{
    if (o.dtype != 0) return o.dtype == p.dtype;
    return o.bytes.size() % p.size_bytes == 0;
}

} // namespace

struct manta_task {
    const manta_task_def_t *def;
    size_t index;
    std::string text;
    std::vector<std::vector<unsigned char>> outs;
};

namespace
{

// What one run of a body leaves behind.
struct outcome_t {
    manta_status_t status = MANTA_OK;
    std::string text;
    std::vector<std::vector<unsigned char>> results;
    std::vector<manta_dtype_t> dtypes;
};

outcome_t run(const manta_task_def_t *def, const unsigned char *args, size_t index)
{
    outcome_t end;
    manta_task task = {def, index, "", {}};
    std::vector<manta_buffer_t> buffers;
    std::deque<std::vector<unsigned char>> inouts;
    std::deque<std::vector<manta_buffer_t>> lists;
    std::vector<size_t> out_at; // into buffers
    auto fail = [&](manta_status_t status, const char *text) {
        end.status = status;
        end.text = text;
    };
    for (uint32_t i = 0; i < def->param_count && end.status == MANTA_OK; i++) {
        const manta_param_t &p = def->params[i];
        manta_ref_t ref;
        manta_ref_list_t list;
        switch (p.kind) {
        case MANTA_PARAM_IN:
        case MANTA_PARAM_INOUT: {
            memcpy(&ref, args + p.offset, sizeof ref);
            object_t *o = find(ref);
            if (o == nullptr) {
                fail(MANTA_ERR_STALE_REF, p.name);
            } else if (o->status != MANTA_OK) {
                fail(o->status, o->text.c_str());
            } else if (!fits(*o, p)) {
                fail(MANTA_ERR_TYPE_MISMATCH, p.name);
            } else if (p.kind == MANTA_PARAM_IN) {
                buffers.push_back({o->bytes.data(), o->bytes.size()});
            } else {
                inouts.push_back(o->bytes);
                buffers.push_back({inouts.back().data(), inouts.back().size()});
            }
            break;
        }
        case MANTA_PARAM_IN_LIST:
            memcpy(&list, args + p.offset, sizeof list);
            lists.emplace_back();
            for (size_t k = 0; k < list.count; k++) {
                object_t *o = find(list.refs[k]);
                if (o == nullptr || !fits(*o, p)) {
                    fail(MANTA_ERR_TYPE_MISMATCH, p.name);
                    break;
                }
                lists.back().push_back({o->bytes.data(), o->bytes.size()});
            }
            buffers.push_back({lists.back().data(), lists.back().size() * sizeof(manta_buffer_t)});
            break;
        case MANTA_PARAM_OUT:
            out_at.push_back(buffers.size());
            buffers.push_back({nullptr, 0});
            break;
        default:
            break;
        }
    }
    if (end.status != MANTA_OK) return end;

    const manta_call_t call = {&task, args, buffers.data(), nullptr};
    std::vector<size_t> sizes(out_at.size(), 0);
    if (def->cpu->sizes != nullptr) end.status = def->cpu->sizes(&call, sizes.data());
    if (end.status == MANTA_OK) {
        task.outs.resize(out_at.size());
        for (size_t i = 0; i < out_at.size(); i++) {
            task.outs[i].resize(sizes[i]);
            buffers[out_at[i]] = {task.outs[i].data(), sizes[i]};
        }
        std::vector<uint64_t> outer;
        outer.swap(handed_out); // the body's own scope
        end.status = def->cpu->invoke(&call);
        for (uint64_t id : handed_out)
            drop({id});
        outer.swap(handed_out);
    }
    end.text = task.text;
    size_t inout = 0, out = 0;
    for (uint32_t i = 0; i < def->param_count; i++) {
        const manta_param_t &p = def->params[i];
        if (p.kind == MANTA_PARAM_INOUT) end.results.push_back(inouts[inout++]);
        if (p.kind == MANTA_PARAM_OUT)
            end.results.push_back(end.status == MANTA_OK ? task.outs[out++]
                                                         : std::vector<unsigned char>());
        if (p.kind == MANTA_PARAM_INOUT || p.kind == MANTA_PARAM_OUT) end.dtypes.push_back(p.dtype);
    }
    return end;
}

size_t results_of(const manta_task_def_t *def)
{
    size_t n = 0;
    for (uint32_t i = 0; i < def->param_count; i++)
        n += def->params[i].kind == MANTA_PARAM_INOUT || def->params[i].kind == MANTA_PARAM_OUT;
    return n == 0 ? 1 : n;
}

outcome_t submit(manta_task_def_t *def, const manta_task_options_t *options, const void *args,
                 size_t args_bytes, size_t result_count)
{
    fake_last.task = def;
    fake_last.has_options = options != nullptr;
    fake_last.options = options != nullptr ? *options : manta_task_options_t();
    const unsigned char *bytes = static_cast<const unsigned char *>(args);
    fake_last.args.assign(bytes, bytes + args_bytes);
    fake_last.result_count = result_count;
    outcome_t refused;
    refused.status = MANTA_ERR_INVALID_ARGUMENT;
    if (args_bytes != def->args_bytes || def->cpu == nullptr) return refused;
    if (result_count != 0 && result_count != results_of(def)) return refused;
    const std::vector<unsigned char> copy = fake_last.args; // nested submits overwrite it
    return run(def, copy.data(), 0);
}

} // namespace

extern "C" {

manta_ref_t manta_put_typed(const void *data, size_t size_bytes, manta_dtype_t dtype)
{
    return make(dtype, data, size_bytes);
}
manta_ref_t(manta_put)(const void *data, size_t size_bytes)
{
    return make(0, data, size_bytes);
}

manta_status_t manta_get(manta_ref_t ref, manta_view_t *out_view, int64_t)
{
    object_t *o = find(ref);
    if (o == nullptr) return MANTA_ERR_STALE_REF;
    if (o->status != MANTA_OK) return o->status;
    const size_t elem = MANTA_DTYPE_SIZE(o->dtype) != 0 ? MANTA_DTYPE_SIZE(o->dtype) : 1;
    *out_view = {o->bytes.empty() ? nullptr : o->bytes.data(), o->bytes.size(),
                 o->bytes.size() / elem, o->dtype, 0};
    return MANTA_OK;
}
void manta_view_release(manta_view_t *) {}

manta_status_t manta_read(manta_ref_t ref, void *dst, size_t size_bytes, int64_t timeout_ns)
{
    manta_view_t v;
    manta_status_t status = manta_get(ref, &v, timeout_ns);
    if (status != MANTA_OK) return status;
    if (v.size_bytes != size_bytes) return MANTA_ERR_TYPE_MISMATCH;
    if (size_bytes > 0) memcpy(dst, v.data, size_bytes);
    return MANTA_OK;
}

manta_status_t manta_ref_status(manta_ref_t ref)
{
    object_t *o = find(ref);
    return o == nullptr ? MANTA_ERR_STALE_REF : o->status;
}
manta_status_t manta_release(manta_ref_t ref)
{
    if (find(ref) == nullptr) return MANTA_ERR_STALE_REF;
    drop(ref);
    return MANTA_OK;
}
manta_ref_t manta_keep(manta_ref_t ref)
{
    for (uint64_t &id : handed_out)
        if (id == ref.id) id = 0;
    return ref;
}

void manta_scope_enter(manta_scope_t *out_scope)
{
    *out_scope = {handed_out.size(), 0};
    fake_last.scopes++;
}
void manta_scope_leave(manta_scope_t *scope)
{
    while (handed_out.size() > scope->mark) {
        manta_ref_t ref = {handed_out.back()};
        drop(ref);
        handed_out.pop_back();
    }
    fake_last.scopes--;
}

const manta_error_t *manta_ref_error(manta_ref_t ref)
{
    object_t *o = find(ref);
    if (o == nullptr || o->status == MANTA_OK) return nullptr;
    return new manta_error{o->status, o->text};
}
const char *manta_error_text(const manta_error_t *error)
{
    return error ? error->text.c_str() : "";
}
void manta_error_release(const manta_error_t *error)
{
    delete error;
}

manta_status_t manta_drain(int64_t)
{
    return MANTA_OK;
}

void manta_submit_call(manta_task_def_t *task, const manta_task_options_t *options,
                       const void *args, size_t args_bytes, manta_ref_t *out_results,
                       size_t result_count)
{
    outcome_t end = submit(task, options, args, args_bytes, result_count);
    for (uint32_t i = 0; i < task->param_count; i++) {
        manta_ref_t taken;
        if (task->params[i].kind != MANTA_PARAM_INOUT) continue;
        memcpy(&taken, static_cast<const char *>(args) + task->params[i].offset, sizeof taken);
        drop(taken);
    }
    for (size_t i = 0; i < result_count; i++) {
        if (end.status != MANTA_OK)
            out_results[i] = make_failed(end.status, end.text);
        else if (end.results.empty())
            out_results[i] = make(0, nullptr, 0);
        else
            out_results[i] = make(end.dtypes[i], end.results[i].data(), end.results[i].size());
    }
}

manta_status_t manta_submit(const manta_task_desc_t *desc, manta_ref_t *out_results,
                            size_t result_count)
{
    if (desc->struct_size != sizeof *desc) return MANTA_ERR_INVALID_ARGUMENT;
    (void)out_results;
    return submit(desc->task, desc->options, desc->args, desc->args_bytes, result_count).status;
}

manta_ref_t manta_submit_range(manta_task_def_t *task, const manta_task_options_t *options,
                               const void *args, size_t args_bytes, size_t count, size_t grain)
{
    const unsigned char *bytes = static_cast<const unsigned char *>(args);
    fake_last.has_options = options != nullptr;
    fake_last.options = options != nullptr ? *options : manta_task_options_t();
    fake_last.count = count;
    fake_last.grain = grain;
    if (args_bytes != task->args_bytes) return make_failed(MANTA_ERR_INVALID_ARGUMENT, "");
    for (size_t i = 0; i < count; i++) {
        outcome_t end = run(task, bytes, i);
        if (end.status != MANTA_OK) return make_failed(end.status, end.text);
    }
    return make(0, nullptr, 0);
}

manta_status_t manta_fail(manta_task_t *task, manta_status_t code, const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    task->text = text;
    return code;
}

manta_status_t manta_out_resize_bytes(manta_task_t *task, uint32_t out_index, size_t size_bytes,
                                      manta_buffer_t *out_buffer)
{
    if (out_index >= task->outs.size()) return MANTA_ERR_INVALID_ARGUMENT;
    if (size_bytes > (size_t)1 << 40) return MANTA_ERR_OUT_OF_MEMORY;
    std::vector<unsigned char> moved(size_bytes); // to another place, every time
    std::vector<unsigned char> &now = task->outs[out_index];
    if (!now.empty() && size_bytes > 0)
        memcpy(moved.data(), now.data(), std::min(size_bytes, now.size()));
    now.swap(moved);
    *out_buffer = {now.data(), now.size()};
    return MANTA_OK;
}

size_t manta_task_index(const manta_task_t *task)
{
    return task->index;
}
const char *manta_task_name(const manta_task_t *task)
{
    return task->def->name;
}

} // extern "C"
