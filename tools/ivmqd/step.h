// Steps at which a test kills the server. Nothing in a server that is no test's.
#ifndef IVMQ_TOOLS_IVMQD_STEP_H_
#define IVMQ_TOOLS_IVMQD_STEP_H_

#ifdef IVMQ_SERVER_STEPS
namespace ivmq::server {
void Step(const char* name) noexcept;  // the test's
}  // namespace ivmq::server
#define IVMQ_SERVER_STEP(name) ::ivmq::server::Step(name)
#else
#define IVMQ_SERVER_STEP(name) static_cast<void>(0)
#endif

#endif  // IVMQ_TOOLS_IVMQD_STEP_H_
