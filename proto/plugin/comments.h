// Comments of a .proto file, for C++.
#ifndef IVMQ_PLUGIN_COMMENTS_H_
#define IVMQ_PLUGIN_COMMENTS_H_

#include <string>
#include <string_view>
#include <vector>

namespace ivmq::plugin {

// The lines of a comment, each to be written behind "//". None of them goes on in the next line or
// ends before its own end for any compiler, and none gives rise to a warning: what does not belong
// into a line of text (control characters, bytes that are no UTF-8, marks that turn the direction
// of text round) becomes a '?'.
std::vector<std::string> CommentLines(std::string_view text);

}  // namespace ivmq::plugin

#endif  // IVMQ_PLUGIN_COMMENTS_H_
