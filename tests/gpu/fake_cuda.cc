// Stands for libcuda.so.1 where there is no GPU: its memory is that of the host, modules are noted,
// and launches are noted and run on the CPU.

#include <chrono>
#include <cstdlib>
#include <vector>

#include "cuda_on_cpu.h"
// After it:
#include "fused_bias_act_cuda.cu"
#include "resample_2d_cuda.cu"
#include "upfirdn_2d_cuda.cu"
#include "weighted_gather_cuda.cu"

namespace {

struct Noted {
  std::string kernel, arguments;
  unsigned grid[3], block[3];
  void* stream;
};

struct State {
  int capability = 90, device = 0;
  void* context = reinterpret_cast<void*>(1);
  int next_error = 0;  // What the next module is answered with.
  std::vector<std::string> modules;  // The first bytes of each image.
  std::vector<Noted> launches;
};

State& state() {
  static State instance;
  return instance;
}

}  // namespace

extern "C" {

// For tests.

void fake_reset(int capability) { state() = State{capability}; }
void fake_context(void* context) { state().context = context; }
void fake_fail(int error) { state().next_error = error; }
int fake_modules() { return static_cast<int>(state().modules.size()); }
const char* fake_module(int i) { return state().modules[i].data(); }
int fake_launches() { return static_cast<int>(state().launches.size()); }
const char* fake_kernel(int i) { return state().launches[i].kernel.c_str(); }
const char* fake_arguments(int i) { return state().launches[i].arguments.data(); }
int64_t fake_size(int i) { return static_cast<int64_t>(state().launches[i].arguments.size()); }
const unsigned* fake_shape(int i) { return state().launches[i].grid; }  // And then of the block.
void* fake_stream(int i) { return state().launches[i].stream; }

// Names of all kernels, with a space after each.
const char* fake_kernels() {
  static std::string names;
  names.clear();
  for (const auto& entry : kernels()) names += entry.first + " ";
  return names.c_str();
}

// The driver.

int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) { return *version = 12090, 0; }
int cuDeviceGetCount(int* count) { return *count = 1, 0; }
int cuDeviceGet(int* device, int) { return *device = 0, 0; }
int cuDeviceGetName(char* name, int size, int) { return strncpy(name, "fake GPU", size), 0; }
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = state().context, 0; }
int cuCtxSetCurrent(void* context) { return state().context = context, 0; }
int cuCtxGetCurrent(void** context) { return *context = state().context, 0; }
int cuCtxGetDevice(int* device) { return *device = 0, 0; }
int cuCtxSynchronize() { return 0; }

int cuDeviceGetAttribute(int* value, int attribute, int) {
  if (attribute != 75 && attribute != 76) return 1;
  *value = attribute == 75 ? state().capability / 10 : state().capability % 10;
  return 0;
}

int cuModuleLoadData(void** module, const void* image) {
  if (state().next_error) return state().next_error;
  state().modules.emplace_back(static_cast<const char*>(image), 4);
  *module = reinterpret_cast<void*>(state().modules.size());
  return 0;
}

int cuModuleGetFunction(void** function, void* module, const char* name) {
  const auto kernel = kernels().find(name);
  if (module == nullptr || kernel == kernels().end()) return 500;
  *function = &*kernel;
  return 0;
}

int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                   void* stream, void** parameters, void** extra) {
  const bool fits = grid_x && grid_y && grid_z && grid_y < 65536 && grid_z < 65536 && block_x &&
                    block_y && block_z && block_z <= 64 && block_x * block_y * block_z <= 1024;
  if (!fits || shared_bytes != 0 || extra != nullptr) return 1;
  const auto& [name, kernel] = *static_cast<std::pair<const std::string, Kernel>*>(function);
  const std::string arguments(static_cast<const char*>(parameters[0]), kernel.size);
  state().launches.push_back(
      {name, arguments, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, stream});
  gridDim = {grid_x, grid_y, grid_z};
  blockDim = {block_x, block_y, block_z};
  for (blockIdx.z = 0; blockIdx.z < grid_z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid_y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid_x; ++blockIdx.x)
        for (threadIdx.z = 0; threadIdx.z < block_z; ++threadIdx.z)
          for (threadIdx.y = 0; threadIdx.y < block_y; ++threadIdx.y)
            for (threadIdx.x = 0; threadIdx.x < block_x; ++threadIdx.x) kernel.run(parameters[0]);
  return 0;
}

int cuGetErrorName(int error, const char** name) {
  *name = error == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU" : "CUDA_ERROR_FAKE";
  return 0;
}

int cuMemAlloc_v2(void** pointer, size_t size) {
  *pointer = aligned_alloc(256, (size + 255) / 256 * 256);
  return *pointer == nullptr ? 2 : 0;
}
int cuMemFree_v2(void* pointer) { return free(pointer), 0; }
int cuMemcpyHtoD_v2(void* to, const void* from, size_t size) { return memcpy(to, from, size), 0; }
int cuMemcpyDtoH_v2(void* to, const void* from, size_t size) { return memcpy(to, from, size), 0; }
int cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t size, void*) {
  return memcpy(to, from, size), 0;
}

using Clock = std::chrono::steady_clock;
int cuEventCreate(void** event, unsigned) { return *event = new Clock::time_point, 0; }
int cuEventRecord(void* event, void*) {
  return *static_cast<Clock::time_point*>(event) = Clock::now(), 0;
}
int cuEventSynchronize(void*) { return 0; }
int cuEventElapsedTime(float* milliseconds, void* start, void* end) {
  const auto time = *static_cast<Clock::time_point*>(end) - *static_cast<Clock::time_point*>(start);
  *milliseconds = std::chrono::duration<float, std::milli>(time).count();
  return 0;
}
}
