// The addon's face to JavaScript: checks arguments, marshals, queues. Knows every other part; no
// other part knows JavaScript. Everything here runs on the thread of the environment that called,
// unless a comment says otherwise. agent/native/index.ts is the only caller and gives the types.
#include <napi.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine.h"
#include "file_lock.h"
#include "mailbox.h"
#include "nonce_scan.h"
#include "process_signal.h"

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
                             InstanceMethod("onExit", &Addon::on_exit),
                             InstanceMethod("signalGroup", &Addon::signal_group),
                             InstanceMethod("groupExists", &Addon::group_exists),
                             InstanceMethod("signalProcess", &Addon::signal_process),
                             InstanceMethod("findByNonce", &Addon::find_by_nonce),
                             InstanceMethod("sample", &Addon::sample),
                             InstanceMethod("startTicksOf", &Addon::start_ticks_of),
                             InstanceMethod("lockFile", &Addon::lock_file),
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
    std::vector<double> flat;  // layout: exitFields in agent/native/index.ts
    flat.reserve(contents.exits.size() * 8);
    for (const ExitRecord& exit : contents.exits) {
      flat.insert(flat.end(), {static_cast<double>(exit.handle), static_cast<double>(exit.pid),
                               static_cast<double>(exit.code), static_cast<double>(exit.signal),
                               exit.user_ms, exit.system_ms, exit.max_rss_bytes, exit.at_ms});
    }
    listener_.Call({numbers(env_, flat)});  // what it throws becomes an uncaught exception
  }

  // The event loop stays alive for promises not yet settled, and, while there is a listener, for
  // children whose exit it has not been told.
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

  // spawn(packed: string, argc: number): Promise<Float64Array [handle, pid, startTicks]>
  Napi::Value spawn(const Napi::CallbackInfo& info) {
    SpawnRequest request;
    if (!request.plan.parse(info[0].As<Napi::String>().Utf8Value(),
                            info[1].As<Napi::Number>().Uint32Value())) {
      Napi::TypeError::New(env_, "spawn: fewer strings than announced")
          .ThrowAsJavaScriptException();
      return env_.Undefined();
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

  // onExit(listener: ((exits: Float64Array) => void) | null): void
  void on_exit(const Napi::CallbackInfo& info) {
    listener_ = info[0].IsFunction() ? Napi::Persistent(info[0].As<Napi::Function>())
                                     : Napi::FunctionReference();
    keep_alive_if_needed();
  }

  Napi::Value answer(const Result<bool>& result) {
    if (result.ok()) return Napi::Boolean::New(env_, result.value());
    failure_error(env_, result.failure()).ThrowAsJavaScriptException();
    return env_.Undefined();
  }

  Napi::Value signal_group(const Napi::CallbackInfo& info) {
    return answer(engine_->registry().signal_group(
        static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()),
        info[1].As<Napi::Number>().Int32Value()));
  }

  Napi::Value group_exists(const Napi::CallbackInfo& info) {
    return answer(morch::group_exists(info[0].As<Napi::Number>().Int32Value()));
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

  // sample(): Promise<Float64Array>, laid out as sampler.h says
  Napi::Value sample(const Napi::CallbackInfo&) {
    Napi::Promise::Deferred deferred = open_promise();
    engine_->inspect([mailbox = mailbox_, deferred](Sampler& sampler) {  // inspector thread
      mailbox->reply([deferred, sampled = sampler.sample(mailbox.get())](Addon& addon) {
        if (sampled.ok()) {
          deferred.Resolve(numbers(addon.env_, sampled.value()));
        } else {
          deferred.Reject(failure_error(addon.env_, sampled.failure()).Value());
        }
      });
    });
    return deferred.Promise();
  }

  Napi::Value lock_file(const Napi::CallbackInfo& info) {
    return answer(morch::lock_file(info[0].As<Napi::String>().Utf8Value()));
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
  size_t running_ = 0;    // children whose spawn was resolved and whose exit was not delivered
  bool kept_alive_ = false;
};

}  // namespace

NODE_API_ADDON(Addon)

}  // namespace morch
