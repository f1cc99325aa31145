// What the demo prints.
#ifndef IVMQ_EXAMPLES_DEMO_REPORT_H_
#define IVMQ_EXAMPLES_DEMO_REPORT_H_

#include <string>

#include "ivmq/node.h"

#include "demo.pb.h"

namespace ivmq::demo {

void PrintPeers(const Node& node);

void PrintHeading();
void PrintRow(const std::string& from, const Task& task, const Outcome& outcome);

// How the coordinator was woken.
void PrintWakeups(const Node& node);

}  // namespace ivmq::demo

#endif  // IVMQ_EXAMPLES_DEMO_REPORT_H_
