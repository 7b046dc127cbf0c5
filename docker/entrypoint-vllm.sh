#!/bin/sh
# Takes the arguments of the image vllm/vllm-openai, old (`--model NAME`) and new (`NAME`).
exec trunkcall as vllm serve "$@"
