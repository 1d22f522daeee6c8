/* main.c: tansy-pack, the compressor's command line. Native and WASI from this source; people use it through `tansy`
 * (js/cli), which turns text into token ids. Result: one JSON object on stdout. Failure: {"error": {code, message}} there,
 * exit status 1 (2: wrong usage). */
#if !defined(__wasi__)
#include <signal.h>
#endif
#include <stdio.h>
#include <string.h>

#include "pack/command.h"

static const char usage[] =
    "usage: tansy-pack compress IN_DIR -o OUT.tansy [options]\n"
    "       tansy-pack eval MODEL.tansy --tokens IDS [options]\n"
    "       tansy-pack inspect MODEL.tansy|FILE.safetensors [options]\n"
    "       tansy-pack synth --preset NAME -o OUT.tansy [options]\n"
    "src/pack/README.md lists the options.\n";

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    tansy_command *run;
  } commands[] = {{"compress", tansy_command_compress}, {"eval", tansy_command_eval}, {"inspect", tansy_command_inspect}, {"synth", tansy_command_synth}};
  if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
    fputs(usage, stdout);
    return 0;
  }
#if defined(SIGXFSZ)
  signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is then a failed write like any other */
#endif
  struct tansy_failure failure = {""};
  enum tansy_status status = TANSY_ERR_ARGUMENT;
  bool known = false;
  for (size_t i = 0; i < sizeof commands / sizeof *commands && argc >= 2; i++) {
    if (strcmp(commands[i].name, argv[1]) != 0) continue;
    known = true;
    status = commands[i].run(argc - 2, argv + 2, &failure);
  }
  if (!known) {
    fputs(usage, stderr);
    tansy_fail(&failure, TANSY_ERR_ARGUMENT, argc >= 2 ? "unknown command \"%s\"" : "no command", argc >= 2 ? argv[1] : "");
  }
  if (status == TANSY_OK && fflush(stdout) == 0) return 0;
  struct tansy_out out = {.file = stdout};
  tansy_out_begin(&out, NULL, '{');
  tansy_out_begin(&out, "error", '{');
  tansy_out_string(&out, "code", tansy_status_name(status));
  tansy_out_string(&out, "message", failure.text);
  tansy_out_end(&out, '}');
  tansy_out_end(&out, '}');
  return status == TANSY_ERR_ARGUMENT ? 2 : 1;
}
