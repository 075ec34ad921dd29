# Written by Landfall. A shell at which nobody types ends by itself.
if [ -n "${BASH_VERSION-}" ] && [ -z "${TMOUT-}" ]; then
declare -xr TMOUT=600
fi
