#!/bin/sh
# Takes the arguments of the image text-generation-inference, and its variables: port 80, models in /data.
export PORT="${PORT:-80}" HUGGINGFACE_HUB_CACHE="${HUGGINGFACE_HUB_CACHE:-/data}"
exec trunkcall as text-generation-launcher "$@"
