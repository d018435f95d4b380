// The end of a run: configs, side files, verification, evaluation on the written bytes, the report.
#pragma once

#include "host/pipeline/journal.hpp"
#include "host/pipeline/run.hpp"
#include "host/pipeline/timeline.hpp"

namespace mopt::pipeline {

struct Ending {
  Prepared& job;
  const RunRequest& request;
  OutputDirectory& output;
  const Journal& journal;
  Report& report;  // what the loop filled in; completed here
  Timeline& timeline;
};

// Throws Failure when the directory does not verify; it stays unfinished then. A gate that was
// missed is returned, for after the rename.
std::vector<Diagnostic> finish(const Ending&, const std::function<void()>& commit_weights);

// Files of the source that go along: tokenizer, generation config, licence, ... but no weights and
// nothing that the exporter writes.
std::vector<Diagnostic> copy_side_files(const Checkpoint& source, const OutputDirectory&,
                                        const std::map<std::string, std::string>& written);

}  // namespace mopt::pipeline
