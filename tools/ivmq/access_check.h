// Whether this user may use a file, and how he comes to.
#ifndef IVMQ_TOOLS_IVMQ_ACCESS_CHECK_H_
#define IVMQ_TOOLS_IVMQ_ACCESS_CHECK_H_

#include <string>

#include "findings.h"

namespace ivmq::tool {

bool Exists(const std::string& path);

// Finds a problem, and returns false, if this user may not read and write `path`. `no_group`: the
// remedies if no group but root's may, in place of chgrp.
bool CheckAccess(const std::string& subject, const std::string& path, Findings* findings,
                 Findings::Remedies no_group = {});

// Notes that everybody may write to `path`, if so.
void CheckPublic(const std::string& subject, const std::string& path, Findings* findings);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_ACCESS_CHECK_H_
