// The addon's face to JavaScript: checks arguments, marshals, queues. Knows every other part; no
// other part knows JavaScript. Everything here runs on the thread of the environment that called,
// unless a comment says otherwise. agent/native/index.ts is the only caller and gives the types.
#include <napi.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine.h"
#include "fifo.h"
#include "file_lock.h"
#include "heap_memory.h"
#include "lease_page.h"
#include "mailbox.h"
#include "nonce_scan.h"
#include "path_work.h"
#include "process_signal.h"
#include "shim_scan.h"
#include "user_lookup.h"

namespace morch {

namespace {

class Addon;
using AddonMailbox = Mailbox<Addon>;

Napi::Error failure_error(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.syscall);
  error.Set("syscall", Napi::String::New(env, failure.syscall));
  error.Set("errno", Napi::Number::New(env, failure.error));
  error.Set("what", Napi::String::New(env, failure.what));
  return error;
}

Napi::Float64Array numbers(Napi::Env env, const std::vector<double>& values) {
  Napi::Float64Array array = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Object user_object(Napi::Env env, const SystemUser& user) {
  Napi::Array groups = Napi::Array::New(env, user.groups.size());
  for (uint32_t i = 0; i < user.groups.size(); ++i) groups.Set(i, user.groups[i]);
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", user.name);
  object.Set("uid", user.uid);
  object.Set("gid", user.gid);
  object.Set("groups", groups);
  object.Set("home", user.home);
  return object;
}

// One per environment.
class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) : env_(env) {
    Result<Engine*> engine = Engine::acquire();
    if (!engine.ok()) {
      failure_error(env, engine.failure()).ThrowAsJavaScriptException();
      return;
    }
    engine_ = engine.value();
    bell_ = Bell::New(env, "morch_native", 0, 1, this);
    bell_.Unref(env);
    mailbox_ = std::make_shared<AddonMailbox>([this] { bell_.NonBlockingCall(); });
    engine_->registry().open(mailbox_);
    // Hooks run in reverse order: this one before the bell's own, which frees it.
    napi_add_env_cleanup_hook(env, &Addon::close, this);
    DefineAddon(exports, {
                             InstanceMethod("spawn", &Addon::spawn),
                             InstanceMethod("watch", &Addon::watch),
                             InstanceMethod("onExit", &Addon::on_exit),
                             InstanceMethod("signal", &Addon::signal),
                             InstanceMethod("signalAll", &Addon::signal_all),
                             InstanceMethod("signalProcess", &Addon::signal_process),
                             InstanceMethod("findByNonce", &Addon::find_by_nonce),
                             InstanceMethod("findShims", &Addon::find_shims),
                             InstanceMethod("sample", &Addon::sample),
                             InstanceMethod("giveBackMemory", &Addon::give_back_memory),
                             InstanceMethod("startTicksOf", &Addon::start_ticks_of),
                             InstanceMethod("lockFile", &Addon::lock_file),
                             InstanceMethod("openFifo", &Addon::open_fifo),
                             InstanceMethod("openLease", &Addon::open_lease),
                             InstanceMethod("bootTimeMs", &Addon::boot_time_ms),
                             InstanceMethod("lookUpUser", &Addon::look_up_user),
                             InstanceMethod("changePaths", &Addon::change_paths),
                             InstanceMethod("lookAtPaths", &Addon::look_at_paths),
                             InstanceMethod("liveCount", &Addon::live_count),
                         });
  }

 private:
  static void on_bell(Napi::Env env, Napi::Function, Addon* addon, void*) {
    // The environment is gone when the function is drained at its end.
    if (static_cast<napi_env>(env) != nullptr) addon->deliver();
  }
  using Bell = Napi::TypedThreadSafeFunction<Addon, void, &Addon::on_bell>;

  static void close(void* self) {
    auto* addon = static_cast<Addon*>(self);
    addon->engine_->registry().close(addon->mailbox_);
    addon->mailbox_->close();
    addon->bell_.Release();
    Engine::release();
  }

  void deliver() {
    const Napi::HandleScope scope(env_);
    AddonMailbox::Contents contents = mailbox_->take();
    for (const AddonMailbox::Reply& reply : contents.replies) reply(*this);
    unsettled_ -= contents.replies.size();
    running_ -= contents.exits.size();
    const bool wanted = !listener_.IsEmpty() && !contents.exits.empty();
    keep_alive_if_needed();
    if (!wanted) return;
    std::vector<double> flat;  // layout: unpackExits in agent/native/index.ts
    flat.reserve(contents.exits.size() * 5);
    for (const ExitRecord& exit : contents.exits) {
      flat.insert(flat.end(),
                  {static_cast<double>(exit.handle), static_cast<double>(exit.pid),
                   static_cast<double>(exit.code), static_cast<double>(exit.signal), exit.at_ms});
    }
    listener_.Call({numbers(env_, flat)});  // what it throws becomes an uncaught exception
  }

  // The event loop stays alive for promises not yet settled, and, while there is a listener, for
  // processes whose end it has not been told.
  void keep_alive_if_needed() {
    const bool needed = unsettled_ > 0 || (running_ > 0 && !listener_.IsEmpty());
    if (needed == kept_alive_) return;
    kept_alive_ = needed;
    needed ? bell_.Ref(env_) : bell_.Unref(env_);
  }

  Napi::Promise::Deferred open_promise() {
    ++unsettled_;
    keep_alive_if_needed();
    return Napi::Promise::Deferred::New(env_);
  }

  // spawn(packed: string, input: Uint8Array): Promise<Float64Array [handle, pid, startTicks]>
  Napi::Value spawn(const Napi::CallbackInfo& info) {
    SpawnRequest request;
    const bool has_bytes = info[1].IsTypedArray() &&
                           info[1].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
    if (!has_bytes || !request.plan.parse(info[0].As<Napi::String>().Utf8Value())) {
      Napi::TypeError::New(env_, "spawn needs three strings and a Uint8Array as input")
          .ThrowAsJavaScriptException();
      return env_.Undefined();
    }
    const auto input = info[1].As<Napi::Uint8Array>();
    if (input.ByteLength() > 0) {
      request.plan.input.assign(reinterpret_cast<const char*>(input.Data()), input.ByteLength());
    }
    Napi::Promise::Deferred deferred = open_promise();
    request.sink = mailbox_;
    request.done = [mailbox = mailbox_, deferred](Result<Spawned> result) {  // spawn worker thread
      mailbox->reply([deferred, result = std::move(result)](Addon& addon) {
        if (!result.ok()) {
          deferred.Reject(failure_error(addon.env_, result.failure()).Value());
          return;
        }
        ++addon.running_;
        const Spawned& spawned = result.value();
        deferred.Resolve(numbers(
            addon.env_, {static_cast<double>(spawned.handle), static_cast<double>(spawned.pid),
                         static_cast<double>(spawned.start_ticks)}));
      });
    };
    engine_->spawn(std::move(request));
    return deferred.Promise();
  }

  // watch(pid: number, startTicks: number): number | null
  Napi::Value watch(const Napi::CallbackInfo& info) {
    const pid_t pid = info[0].As<Napi::Number>().Int32Value();
    const auto start_ticks = static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value());
    if (const auto known = engine_->registry().find(mailbox_.get(), pid, start_ticks)) {
      return Napi::Number::New(env_, static_cast<double>(*known));
    }
    Result<UniqueFd> pinned = pin_process(pid, start_ticks);
    if (!pinned.ok()) return raise(pinned.failure());
    if (!pinned.value().valid()) return env_.Null();
    auto process = std::make_shared<WatchedProcess>();
    process->pid = pid;
    process->start_ticks = start_ticks;
    process->pidfd = std::move(pinned.value());
    process->sink = mailbox_;
    process->tree = ProcessTree(pid, start_ticks);
    const Result<uint64_t> added = engine_->registry().add(process, [](uint64_t) {});
    if (!added.ok()) return raise(added.failure());
    ++running_;
    keep_alive_if_needed();
    return Napi::Number::New(env_, static_cast<double>(added.value()));
  }

  // onExit(listener: ((exits: Float64Array) => void) | null): void
  void on_exit(const Napi::CallbackInfo& info) {
    listener_ = info[0].IsFunction() ? Napi::Persistent(info[0].As<Napi::Function>())
                                     : Napi::FunctionReference();
    keep_alive_if_needed();
  }

  Napi::Value raise(const Failure& failure) {
    failure_error(env_, failure).ThrowAsJavaScriptException();
    return env_.Undefined();
  }

  Napi::Value answer(const Result<bool>& result) {
    if (!result.ok()) return raise(result.failure());
    return Napi::Boolean::New(env_, result.value());
  }

  // signal(handle: number, signal: number, value?: number): boolean
  Napi::Value signal(const Napi::CallbackInfo& info) {
    std::optional<int> value;
    if (info[2].IsNumber()) value = info[2].As<Napi::Number>().Int32Value();
    return answer(
        engine_->registry().signal(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()),
                                   info[1].As<Napi::Number>().Int32Value(), value));
  }

  // signalAll(flat: Float64Array): Promise<Float64Array>; of each: handle, signal, value or NaN
  Napi::Value signal_all(const Napi::CallbackInfo& info) {
    const auto flat = info[0].As<Napi::Float64Array>();
    std::vector<double> asked(flat.Data(), flat.Data() + flat.ElementLength());
    Napi::Promise::Deferred deferred = open_promise();
    engine_->signal([mailbox = mailbox_, deferred, asked = std::move(asked),
                     registry = &engine_->registry()] {  // signal thread
      std::vector<double> results;
      for (size_t at = 0; at + 2 < asked.size(); at += 3) {
        std::optional<int> value;
        if (!std::isnan(asked[at + 2])) value = static_cast<int>(asked[at + 2]);
        const Result<bool> sent = registry->signal(static_cast<uint64_t>(asked[at]),
                                                   static_cast<int>(asked[at + 1]), value);
        results.push_back(sent.ok() ? 0 : sent.failure().error);
      }
      mailbox->reply([deferred, results = std::move(results)](Addon& addon) {
        deferred.Resolve(numbers(addon.env_, results));
      });
    });
    return deferred.Promise();
  }

  Napi::Value signal_process(const Napi::CallbackInfo& info) {
    return answer(
        morch::signal_process(info[0].As<Napi::Number>().Int32Value(),
                              static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value()),
                              info[2].As<Napi::Number>().Int32Value()));
  }

  // findByNonce(nonces: string[]): Promise<FoundProcess[]>
  Napi::Value find_by_nonce(const Napi::CallbackInfo& info) {
    std::vector<std::string> nonces;
    const auto list = info[0].As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
      nonces.push_back(list.Get(i).As<Napi::String>().Utf8Value());
    }
    Napi::Promise::Deferred deferred = open_promise();
    engine_->inspect([mailbox = mailbox_, deferred, nonces](Sampler&) {  // inspector thread
      mailbox->reply([deferred, found = morch::find_by_nonce(nonces)](Addon& addon) {
        Napi::Array processes = Napi::Array::New(addon.env_, found.size());
        for (uint32_t i = 0; i < found.size(); ++i) {
          Napi::Object process = Napi::Object::New(addon.env_);
          process.Set("pid", static_cast<double>(found[i].pid));
          process.Set("startTicks", static_cast<double>(found[i].start_ticks));
          process.Set("nonce", found[i].nonce);
          processes.Set(i, process);
        }
        deferred.Resolve(processes);
      });
    });
    return deferred.Promise();
  }

  // findShims(dataDir: string): Promise<FoundShim[]>
  Napi::Value find_shims(const Napi::CallbackInfo& info) {
    Napi::Promise::Deferred deferred = open_promise();
    engine_->inspect([mailbox = mailbox_, deferred,
                      data_dir = info[0].As<Napi::String>().Utf8Value()](Sampler&) {
      // Inspector thread.
      mailbox->reply([deferred, found = morch::find_shims(data_dir)](Addon& addon) {
        Napi::Array shims = Napi::Array::New(addon.env_, found.size());
        for (uint32_t i = 0; i < found.size(); ++i) {
          Napi::Object shim = Napi::Object::New(addon.env_);
          shim.Set("pid", static_cast<double>(found[i].pid));
          shim.Set("startTicks", static_cast<double>(found[i].start_ticks));
          shim.Set("key", found[i].key);
          shim.Set("nonce", found[i].nonce);
          shims.Set(i, shim);
        }
        deferred.Resolve(shims);
      });
    });
    return deferred.Promise();
  }

  // lookUpUser(name: string): Promise<SystemUser | null>
  Napi::Value look_up_user(const Napi::CallbackInfo& info) {
    Napi::Promise::Deferred deferred = open_promise();
    engine_->look_up([mailbox = mailbox_, deferred, name = info[0].As<Napi::String>().Utf8Value()] {
      // Look-up thread.
      mailbox->reply([deferred, looked_up = morch::look_up_user(name)](Addon& addon) {
        if (!looked_up.ok()) {
          deferred.Reject(failure_error(addon.env_, looked_up.failure()).Value());
        } else if (!looked_up.value()) {
          deferred.Resolve(addon.env_.Null());
        } else {
          deferred.Resolve(user_object(addon.env_, *looked_up.value()));
        }
      });
    });
    return deferred.Promise();
  }

  // changePaths(packed: string): Promise<Float64Array>
  Napi::Value change_paths(const Napi::CallbackInfo& info) {
    Napi::Promise::Deferred deferred = open_promise();
    engine_->change(
        [mailbox = mailbox_, deferred, packed = info[0].As<Napi::String>().Utf8Value()] {
          // Disk thread.
          mailbox->reply([deferred, results = morch::change_paths(packed)](Addon& addon) {
            deferred.Resolve(numbers(addon.env_, {results.begin(), results.end()}));
          });
        });
    return deferred.Promise();
  }

  // lookAtPaths(packed: string): Promise<Float64Array>
  Napi::Value look_at_paths(const Napi::CallbackInfo& info) {
    Napi::Promise::Deferred deferred = open_promise();
    engine_->change(
        [mailbox = mailbox_, deferred, packed = info[0].As<Napi::String>().Utf8Value()] {
          // Disk thread.
          mailbox->reply([deferred, looks = morch::look_at_paths(packed)](Addon& addon) {
            deferred.Resolve(numbers(addon.env_, looks));
          });
        });
    return deferred.Promise();
  }

  // sample(lookedAtNow?: boolean): Promise<Float64Array>, laid out as sampler.h says
  Napi::Value sample(const Napi::CallbackInfo& info) {
    Napi::Promise::Deferred deferred = open_promise();
    const auto which =
        info[0].ToBoolean().Value() ? Sampler::Which::kLookedAtNow : Sampler::Which::kAll;
    engine_->inspect([mailbox = mailbox_, deferred, which](Sampler& sampler) {  // inspector thread
      mailbox->reply([deferred, sampled = sampler.sample(mailbox.get(), which)](Addon& addon) {
        if (sampled.ok()) {
          deferred.Resolve(numbers(addon.env_, sampled.value()));
        } else {
          deferred.Reject(failure_error(addon.env_, sampled.failure()).Value());
        }
      });
    });
    return deferred.Promise();
  }

  void give_back_memory(const Napi::CallbackInfo&) {
    engine_->inspect([](Sampler&) { morch::give_back_memory(); });  // inspector thread
  }

  Napi::Value lock_file(const Napi::CallbackInfo& info) {
    return answer(morch::lock_file(info[0].As<Napi::String>().Utf8Value()));
  }

  Napi::Value open_fifo(const Napi::CallbackInfo& info) {
    Result<UniqueFd> fd = morch::open_fifo(info[0].As<Napi::String>().Utf8Value());
    if (!fd.ok()) return raise(fd.failure());
    return Napi::Number::New(env_, fd.value().release());
  }

  // openLease(path: string): { refresh(endsAtMs: number, term: number, hasScheduler: boolean):
  // boolean; read(): [endsAtMs: number, term: number]; close(): void }
  Napi::Value open_lease(const Napi::CallbackInfo& info) {
    Result<LeasePage> opened = LeasePage::open(info[0].As<Napi::String>().Utf8Value());
    if (!opened.ok()) return raise(opened.failure());
    // The functions own the page; it is unmapped with the last of them, if not closed before.
    const auto page = std::make_shared<LeasePage>(std::move(opened.value()));
    Napi::Object object = Napi::Object::New(env_);
    object.Set("refresh", Napi::Function::New(env_, [page](const Napi::CallbackInfo& call) {
                 const LeasePage::Lease lease = {
                     call[0].As<Napi::Number>().Int64Value(),
                     static_cast<uint64_t>(call[1].As<Napi::Number>().Int64Value())};
                 return Napi::Boolean::New(
                     call.Env(), page->refresh(lease, call[2].As<Napi::Boolean>().Value()));
               }));
    object.Set("read", Napi::Function::New(env_, [page](const Napi::CallbackInfo& call) {
                 const LeasePage::Lease lease = page->read();
                 Napi::Array said = Napi::Array::New(call.Env(), 2);
                 said[0u] = Napi::Number::New(call.Env(), static_cast<double>(lease.ends_ms));
                 said[1u] = Napi::Number::New(call.Env(), static_cast<double>(lease.term));
                 return said;
               }));
    object.Set("close",
               Napi::Function::New(env_, [page](const Napi::CallbackInfo&) { page->close(); }));
    return object;
  }

  Napi::Value boot_time_ms(const Napi::CallbackInfo&) {
    return Napi::Number::New(env_, static_cast<double>(morch::boot_time_ms()));
  }

  Napi::Value start_ticks_of(const Napi::CallbackInfo& info) {
    const auto ticks = morch::start_ticks_of(info[0].As<Napi::Number>().Int32Value());
    if (!ticks) return env_.Null();
    return Napi::Number::New(env_, static_cast<double>(*ticks));
  }

  Napi::Value live_count(const Napi::CallbackInfo&) {
    return Napi::Number::New(env_, mailbox_->live.load());
  }

  const Napi::Env env_;
  Engine* engine_ = nullptr;
  Bell bell_;
  std::shared_ptr<AddonMailbox> mailbox_;
  Napi::FunctionReference listener_;
  size_t unsettled_ = 0;  // promises given out and not yet settled
  size_t running_ = 0;    // processes under watch whose end was not delivered
  bool kept_alive_ = false;
};

}  // namespace

NODE_API_ADDON(Addon)

}  // namespace morch
