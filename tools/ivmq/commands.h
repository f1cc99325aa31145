// The commands. Each Add function adds one to the program; the command's exit status goes to
// `exit_code`.
#ifndef IVMQ_TOOLS_IVMQ_COMMANDS_H_
#define IVMQ_TOOLS_IVMQ_COMMANDS_H_

#include <CLI/CLI.hpp>

namespace ivmq::tool {

void AddFormat(CLI::App& app, int* exit_code);
void AddInfo(CLI::App& app, int* exit_code);
void AddLs(CLI::App& app, int* exit_code);
void AddDump(CLI::App& app, int* exit_code);
void AddFsck(CLI::App& app, int* exit_code);
void AddCall(CLI::App& app, int* exit_code);
void AddBench(CLI::App& app, int* exit_code);
void AddTop(CLI::App& app, int* exit_code);
void AddPing(CLI::App& app, int* exit_code);
void AddSend(CLI::App& app, int* exit_code);
void AddRecord(CLI::App& app, int* exit_code);
void AddReplay(CLI::App& app, int* exit_code);
void AddRecv(CLI::App& app, int* exit_code);
void AddRing(CLI::App& app, int* exit_code);
void AddTopic(CLI::App& app, int* exit_code);
void AddWait(CLI::App& app, int* exit_code);
void AddForget(CLI::App& app, int* exit_code);
void AddServer(CLI::App& app, int* exit_code);
void AddDoctor(CLI::App& app, int* exit_code);
void AddExplain(CLI::App& app, int* exit_code);
void AddCompletion(CLI::App& app, int* exit_code);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_COMMANDS_H_
