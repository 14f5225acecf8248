"""What every room uses and none owns: text made safe, lengths of time, deadlines, payloads, JSON lines, files.

In: values. Out: values, or an error of `runtime.model`. Pure, but for the files; knows no boundary.
"""
