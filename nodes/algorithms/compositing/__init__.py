"""From the photo to the working crop and back: crops, fills, colours."""
