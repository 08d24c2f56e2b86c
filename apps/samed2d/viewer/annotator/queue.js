/**
 * Does one thing after the other. What fails because the server does not answer is kept and tried
 * again until it does; what fails otherwise is reported, and the next thing follows.
 */

import { LostConnection } from './errors.js';

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;

/** @typedef {() => Promise<void> | void} Job */

/** Jobs in their order. */
export class Queue {
  /**
   * @param {(error: unknown) => void} onError told of each failure
   * @param {(lost: LostConnection | null) => void} onConnection told when the connection is lost,
   *   and is back
   */
  constructor(onError, onConnection) {
    this._onError = onError;
    this._onConnection = onConnection;
    /** @type {Job[]} */
    this._jobs = [];
    this._busy = false;
  }

  /** How many jobs are not finished. */
  get length() {
    return this._jobs.length;
  }

  /**
   * Add a job.
   * @param {Job} job
   * @returns {Promise<void>} done, whether it succeeded or failed
   */
  add(job) {
    return new Promise(resolve => {
      this._jobs.push(async () => {
        await this._persist(job);
        resolve();
      });
      void this._work();
    });
  }

  async _work() {
    if (this._busy) {
      return;
    }
    this._busy = true;
    for (let job = this._jobs[0]; job; job = this._jobs[0]) {
      await job();
      this._jobs.shift();
    }
    this._busy = false;
  }

  /** @param {Job} job */
  async _persist(job) {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      try {
        await job();
        this._onConnection(null);
        return;
      } catch (error) {
        if (!(error instanceof LostConnection)) {
          this._onError(error);
          return;
        }
        this._onConnection(error);
        await new Promise(resolve => setTimeout(resolve, pause));
      }
    }
  }
}
