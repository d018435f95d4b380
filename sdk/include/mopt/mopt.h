/* mopt.h: every header of the ABI. */
#ifndef MOPT_MOPT_H
#define MOPT_MOPT_H

#include "mopt/adapter.h"
#include "mopt/calibrator.h"
#include "mopt/exporter.h"
#include "mopt/format.h"
#include "mopt/pruner.h"
#include "mopt/quantizer.h"

#endif
