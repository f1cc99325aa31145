// Messages as the commands print them.
#ifndef IVMQ_TOOLS_IVMQ_MESSAGE_TEXT_H_
#define IVMQ_TOOLS_IVMQ_MESSAGE_TEXT_H_

#include <string>

#include "ivmq/message.h"

#include "output.h"

namespace ivmq::tool {

// "type 7", "id 7", or the name of a type.
std::string TypeText(const Message& message);

// The message as printable text, or the first bytes of it as "hex 68 65 6c".
std::string PayloadText(const Message& message);

// "kind", "type" or "type_name", "size", and "text" or, for what is no text, "hex".
void AddContent(const Message& message, Json* json);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_MESSAGE_TEXT_H_
