// The driver of NVIDIA's GPUs by its C interface, with nothing of CUDA at hand when this is built.
//
// Modules belong to a context, of which TensorFlow has one for each GPU. They stay loaded until the
// process ends.

#include "device.h"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <utility>

#ifndef CUDA_DRIVER
#define CUDA_DRIVER "libcuda.so.1"
#endif

namespace {

// Of CUresult and CUdevice_attribute.
constexpr int kNotInitialized = 3, kNoBinaryForGpu = 209, kNoDriver = 303;
constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;

struct Driver {
  int (*cuCtxGetCurrent)(void** context) = nullptr;
  int (*cuCtxGetDevice)(int* device) = nullptr;
  int (*cuDeviceGetAttribute)(int* value, int attribute, int device) = nullptr;
  int (*cuModuleLoadData)(void** module, const void* image) = nullptr;
  int (*cuModuleGetFunction)(void** function, void* module, const char* name) = nullptr;
  int (*cuLaunchKernel)(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        void* stream, void** parameters, void** extra) = nullptr;
  int (*cuGetErrorName)(int error, const char** name) = nullptr;
  bool complete = true;

  Driver() {
    void* library = dlopen(CUDA_DRIVER, RTLD_NOW);
    find(library, "cuCtxGetCurrent", &cuCtxGetCurrent);
    find(library, "cuCtxGetDevice", &cuCtxGetDevice);
    find(library, "cuDeviceGetAttribute", &cuDeviceGetAttribute);
    find(library, "cuModuleLoadData", &cuModuleLoadData);
    find(library, "cuModuleGetFunction", &cuModuleGetFunction);
    find(library, "cuLaunchKernel", &cuLaunchKernel);
    find(library, "cuGetErrorName", &cuGetErrorName);
  }

  template <typename Function>
  void find(void* library, const char* name, Function* function) {
    void* symbol = library == nullptr ? nullptr : dlsym(library, name);
    *function = reinterpret_cast<Function>(symbol);
    complete = complete && symbol != nullptr;
  }
};

const Driver& driver() {
  static const Driver instance;
  return instance;
}

class Kernels {
 public:
  void add(int capability, std::string image) {
    const std::lock_guard<std::mutex> lock(mutex_);
    images_[capability] = std::move(image);
  }

  // The function of a kernel in the current context.
  int find(const char* name, void** function) {
    void* context = nullptr;
    if (int error = driver().cuCtxGetCurrent(&context)) return error;
    if (context == nullptr) return kNotInitialized;
    const std::lock_guard<std::mutex> lock(mutex_);
    void*& known = functions_[{context, name}];
    if (known == nullptr) {
      void* module = nullptr;
      if (int error = find_module(context, &module)) return error;
      if (int error = driver().cuModuleGetFunction(&known, module, name)) return error;
    }
    *function = known;
    return 0;
  }

 private:
  int find_module(void* context, void** module) {
    void*& known = modules_[context];
    if (known == nullptr) {
      int device, major, minor;
      if (int error = driver().cuCtxGetDevice(&device)) return error;
      if (int error = driver().cuDeviceGetAttribute(&major, kCapabilityMajor, device)) return error;
      if (int error = driver().cuDeviceGetAttribute(&minor, kCapabilityMinor, device)) return error;
      const auto image = images_.find(10 * major + minor);
      if (image == images_.end()) return kNoBinaryForGpu;
      if (int error = driver().cuModuleLoadData(&known, image->second.c_str())) return error;
    }
    *module = known;
    return 0;
  }

  std::mutex mutex_;
  std::map<int, std::string> images_;  // By capability; PTX ends with a 0, as strings do.
  std::map<void*, void*> modules_;     // By context.
  std::map<std::pair<void*, std::string>, void*> functions_;
};

Kernels& kernels() {
  static Kernels instance;
  return instance;
}

}  // namespace

void tf_ops_add_kernels(int capability, const void* image, int64_t size) {
  kernels().add(capability, std::string(static_cast<const char*>(image), size));
}

int tf_ops_launch(const char* name, const unsigned grid[3], const unsigned block[3],
                  void* arguments, void* stream) {
  if (!driver().complete) return kNoDriver;
  void* function = nullptr;
  if (int error = kernels().find(name, &function)) return error;
  void* parameters[] = {arguments};
  return driver().cuLaunchKernel(function, grid[0], grid[1], grid[2], block[0], block[1], block[2],
                                 0, stream, parameters, nullptr);
}

const char* tf_ops_device_error(int error) {
  const char* name = nullptr;
  if (!driver().complete) return CUDA_DRIVER " cannot be used";
  return driver().cuGetErrorName(error, &name) == 0 && name != nullptr ? name : "unknown error";
}
