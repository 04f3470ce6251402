// The frames of a clip for a program in Node, which has no video decoder: GStreamer's gst-launch-1.0 decodes in a process beside it and hands the pictures over.
import { spawn } from 'node:child_process'

const FRAMES_FD = 3 // standard output is where gst-launch-1.0 talks

// Yields each frame as WIDTH x HEIGHT x 3 bytes of RGB, in the same memory each time.
export async function * framesOf (clip, width, height) {
  const location = `location="${clip.replace(/["\\]/g, '\\$&')}"`
  const caps = `video/x-raw,format=RGB,width=${width},height=${height}`
  const pipeline = ['filesrc', location, '!', 'decodebin', '!', 'videoconvert', '!', caps, '!', 'fdsink', `fd=${FRAMES_FD}`]
  const decoder = spawn('gst-launch-1.0', ['-q', ...pipeline], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] })
  const ended = new Promise((resolve, reject) => decoder.on('error', reject).on('close', resolve))
  const rowBytes = width * 3
  const paddedBytes = Math.ceil(rowBytes / 4) * 4 // GStreamer starts each row of RGB at a multiple of four
  const padded = Buffer.alloc(paddedBytes * height)
  const packed = paddedBytes === rowBytes ? padded : Buffer.alloc(rowBytes * height)
  let filled = 0
  for await (const chunk of decoder.stdio[FRAMES_FD]) {
    for (let start = 0; start < chunk.length;) {
      const copied = chunk.copy(padded, filled, start)
      start += copied
      filled += copied
      if (filled < padded.length) continue
      if (packed !== padded) for (let row = 0; row < height; row++) padded.copy(packed, row * rowBytes, row * paddedBytes, row * paddedBytes + rowBytes)
      yield packed
      filled = 0
    }
  }
  const code = await ended
  if (code !== 0) throw new Error(`gst-launch-1.0 ended with exit code ${code}: expected a clip of ${width}x${height} in ${clip}`)
  if (filled !== 0) throw new Error(`gst-launch-1.0 stopped ${filled} bytes into a frame of ${clip}`)
}
